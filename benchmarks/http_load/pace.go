package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

const patience = 10 * time.Second // for all answers, after the last request was due

// pace requests at a set rate, whether or not earlier requests were answered: each goes to a
// connection that is free, and waits for one where none is. Its time counts from when it was
// begun, or was due where the one before was begun too late: how exactly the system ends a sleep is
// not the relay's affair. The result is what these times were.
func pace(door string, connections int, rate int64, duration time.Duration) string {
	count := int(rate * int64(duration/time.Second))
	begun := make(chan time.Time, count)
	times := make(chan time.Duration, count)
	var working sync.WaitGroup
	end := time.Now().Add(duration + patience)
	for index := 0; index < connections; index++ {
		connection, err := net.Dial("tcp", door)
		check(err)
		check(connection.SetDeadline(end))
		ask(connection, bufio.NewReader(connection), door) // the way to the target is open now
		working.Add(1)
		go func() { work(connection, door, begun, times); working.Done() }()
	}
	begin(begun, count, time.Second/time.Duration(rate))
	working.Wait()
	close(times)
	return summary(times)
}

// begin says when each request begins. It has a thread of its own, whose sleeps are exact: those of
// Go's own timers are rounded up to a millisecond where nothing else happens.
func begin(begun chan<- time.Time, count int, interval time.Duration) {
	runtime.LockOSThread()
	start := time.Now()
	for index := 0; index < count; index++ {
		from := start.Add(time.Duration(index) * interval)
		if wait := time.Until(from); wait > 0 {
			left := syscall.NsecToTimespec(wait.Nanoseconds())
			for syscall.Nanosleep(&left, &left) == syscall.EINTR {
			}
			from = time.Now()
		}
		begun <- from
	}
	close(begun)
}

func work(connection net.Conn, door string, begun <-chan time.Time, times chan<- time.Duration) {
	reader := bufio.NewReader(connection)
	for from := range begun {
		ask(connection, reader, door)
		times <- time.Since(from)
	}
	connection.Close()
}

func ask(connection net.Conn, reader *bufio.Reader, door string) {
	_, err := fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", door)
	check(err)
	response, err := http.ReadResponse(reader, nil)
	check(err)
	_, err = io.Copy(io.Discard, response.Body)
	check(err)
	if response.StatusCode != 200 {
		log.Fatalf("the answer was %s", response.Status)
	}
}

func summary(found <-chan time.Duration) string {
	var times []time.Duration
	for took := range found {
		times = append(times, took)
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	share := func(part float64) float64 {
		return float64(times[int(part*float64(len(times)-1)+.5)].Nanoseconds()) / 1e3
	}
	form := `{"requests":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f}`
	return fmt.Sprintf(form, len(times), share(.5), share(.99), share(.999))
}
