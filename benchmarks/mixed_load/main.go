// The load that wrk and iperf3 cannot make: one small echo beside many bulk streams.
//
//	mixed_load target LISTEN                             echoes, swallows and pours, on one port
//	mixed_load client DOOR TARGET STREAMS WAY SECONDS    pings beside bulk streams, prints JSON
//
// Echo and bulk come through the same DOOR, so that they share the tunnel behind it. The first byte
// of a connection says what it is. WAY is `there`, from the client to the target, or `back`. With no
// stream the client pings as fast as the answers come; beside some it pings every 2 ms, whether or
// not the ones before were answered, so that a stall is seen by every ping that it delays.
//
// Both sides echo in a process of their own, at a higher priority where that is allowed (to root):
// in the process of the bulk streams, or behind it in the queue for a processor, a ping would wait
// for its turn, and that wait would be taken for the tunnel's. Prints "ready" when it accepts.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	echoes    = 'e' // every byte comes back
	swallows  = 's' // the target reads and counts
	pours     = 'p' // the target sends until it receives a byte
	counts    = 'c' // the target says how many bytes it has swallowed, and the connection is over
	bulkBytes = 128 << 10
	hurried   = -10
)

// hurry sets the priority of this process, thread by thread; 0 is the usual one. Without leave for
// a higher one it stays as it was.
func hurry(nice int) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return // not Linux
	}
	for _, thread := range threads {
		syscall.Setpriority(syscall.PRIO_PROCESS, number(thread.Name()), nice)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func main() {
	log.SetFlags(0)
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 2 && arguments[0] == "target":
		target(arguments[1])
	case len(arguments) == 1 && arguments[0] == "echo":
		hurry(hurried)
		echoInherited()
	case len(arguments) == 4 && arguments[0] == "bulk":
		hurry(0) // it was started by the client, whose priority it has
		bulk(arguments[1], number(arguments[2]), arguments[3])
	case len(arguments) == 6 && arguments[0] == "client":
		hurry(hurried)
		seconds := time.Duration(number(arguments[5])) * time.Second
		fmt.Println(client(arguments[1], arguments[2], number(arguments[3]), arguments[4], seconds))
	default:
		log.Fatal("usage: mixed_load target LISTEN | client DOOR TARGET STREAMS WAY SECONDS")
	}
}
