package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pingBytes = 64
	interval  = 2 * time.Millisecond
	settling  = 300 * time.Millisecond // until the bulk streams are at their pace
	patience  = time.Second            // for answers after the last ping
	draining  = 5 * time.Second        // at most, for what bulk streams have under way at the end
)

// result is what the client prints. Of an unanswered ping the time is as long as it was waited for.
type result struct {
	Pings      int     `json:"pings"`
	Unanswered int     `json:"unanswered"`
	Micros     int64   `json:"micros"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	BulkBytes  uint64  `json:"bulk_bytes"`
	BulkMicros int64   `json:"bulk_micros"`
}

func client(door, target string, streams int, way string, duration time.Duration) string {
	connection := dial(door, echoes)
	var found result
	var times []time.Duration
	start := time.Now()
	if streams == 0 {
		times = pingPong(connection, duration)
		found.Micros = time.Since(start).Microseconds()
	} else {
		stop, received := startBulk(door, streams, way)
		if way == "there" {
			received = func() uint64 { return askCount(target) }
		}
		time.Sleep(settling)
		before := received()
		start = time.Now()
		done := make(chan struct{})
		go func() {
			time.Sleep(duration)
			found.BulkBytes = received() - before
			found.BulkMicros = time.Since(start).Microseconds()
			close(done)
		}()
		times, found.Unanswered = pace(connection, duration)
		found.Micros = duration.Microseconds()
		<-done
		stop()
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	found.Pings = len(times)
	found.P50, found.P99, found.P999 = share(times, .5), share(times, .99), share(times, .999)
	text, err := json.Marshal(found)
	check(err)
	return string(text)
}

func dial(door string, kind byte) *net.TCPConn {
	connection, err := net.Dial("tcp", door)
	check(err)
	_, err = connection.Write([]byte{kind})
	check(err)
	return connection.(*net.TCPConn)
}

// share returns the time that this share of the sorted times does not exceed, in microseconds.
func share(times []time.Duration, part float64) float64 {
	if len(times) == 0 {
		return 0
	}
	return float64(times[int(part*float64(len(times)-1)+.5)].Nanoseconds()) / 1e3
}

// ping returns the bytes of one ping, by which its answer is told from every other.
func ping(index int) []byte {
	bytes := make([]byte, pingBytes)
	binary.BigEndian.PutUint64(bytes, uint64(index))
	return bytes
}

func isAnswer(bytes []byte, index int) bool {
	return binary.BigEndian.Uint64(bytes) == uint64(index)
}

// pingPong sends a ping when the one before is answered.
func pingPong(connection *net.TCPConn, duration time.Duration) []time.Duration {
	var times []time.Duration
	answer := make([]byte, pingBytes)
	start := time.Now()
	connection.SetDeadline(start.Add(duration + patience))
	for time.Since(start) < duration {
		sent := time.Now()
		_, err := connection.Write(ping(len(times)))
		check(err)
		_, err = io.ReadFull(connection, answer)
		check(err)
		if !isAnswer(answer, len(times)) {
			log.Fatal("an echo came back changed")
		}
		times = append(times, time.Since(sent))
	}
	return times
}

// pace sends a ping whenever one is due. Its time counts from then on where the ping before could
// not be written, else from when it was written: how exactly the system ends a sleep is not the
// tunnel's affair. The time of a ping that is not answered ends when the client gives up.
func pace(connection *net.TCPConn, duration time.Duration) ([]time.Duration, int) {
	count := int(duration / interval)
	start := time.Now()
	begun := make(chan time.Time, count)
	connection.SetDeadline(start.Add(duration + patience))
	go func() {
		for index := 0; index < count; index++ {
			from := start.Add(time.Duration(index) * interval)
			if wait := time.Until(from); wait > 0 {
				time.Sleep(wait)
				from = time.Now()
			}
			begun <- from
			connection.Write(ping(index)) // an error ends the reading as well
		}
		close(begun)
	}()
	times := readAnswers(connection, begun, count)
	unanswered := count - len(times)
	now := time.Now()
	for from := range begun {
		times = append(times, now.Sub(from))
	}
	return times, unanswered
}

// readAnswers returns the times of the pings that were answered before the deadline.
func readAnswers(connection *net.TCPConn, begun <-chan time.Time, count int) []time.Duration {
	times := make([]time.Duration, 0, count)
	answer := make([]byte, pingBytes)
	for len(times) < count {
		_, err := io.ReadFull(connection, answer)
		if failed, ok := err.(net.Error); ok && failed.Timeout() {
			break
		}
		check(err)
		if !isAnswer(answer, len(times)) {
			log.Fatal("an echo came back changed")
		}
		times = append(times, time.Since(<-begun))
	}
	return times
}

// startBulk starts the bulk streams in a process of their own, which ends when its input does. It
// returns what ends it, and what says how many bytes the streams have received.
func startBulk(door string, streams int, way string) (stop func(), received func() uint64) {
	command := exec.Command(os.Args[0], "bulk", door, strconv.Itoa(streams), way)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	check(err)
	output, err := command.StdoutPipe()
	check(err)
	check(command.Start())
	lines := bufio.NewReader(output)
	ask := func() uint64 {
		fmt.Fprintln(input)
		line, err := lines.ReadString('\n')
		check(err)
		count, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		check(err)
		return count
	}
	ask() // the first answer comes when all streams are connected
	return func() { input.Close(); check(command.Wait()) }, ask
}

// askCount returns how many bytes the target has swallowed; it asks without the tunnel.
func askCount(target string) (count uint64) {
	connection := dial(target, counts)
	defer connection.Close()
	check(binary.Read(connection, binary.BigEndian, &count))
	return count
}

// bulk runs the bulk streams until its input ends: it answers each line with what was received.
// Then it lets the streams run dry, so that no relay is left with bytes that nobody reads.
func bulk(door string, streams int, way string) {
	var received uint64
	var running sync.WaitGroup
	stop := make(chan struct{})
	for index := 0; index < streams; index++ {
		running.Add(1)
		if way == "back" {
			connection := dial(door, pours)
			go func() { <-stop; connection.Write([]byte{0}) }()
			go func() { swallow(connection, &received); connection.Close(); running.Done() }()
		} else {
			connection := dial(door, swallows)
			go func() { fill(connection, stop); running.Done() }()
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(atomic.LoadUint64(&received))
	}
	close(stop)
	time.AfterFunc(draining, func() { os.Exit(0) })
	running.Wait()
}

// fill writes until it is stopped, and waits until the target has read all of it.
func fill(connection *net.TCPConn, stop chan struct{}) {
	buffer := make([]byte, bulkBytes)
	for {
		select {
		case <-stop:
			connection.CloseWrite()
			io.Copy(io.Discard, connection)
			connection.Close()
			return
		default:
			if _, err := connection.Write(buffer); err != nil {
				return
			}
			runtime.Gosched()
		}
	}
}
