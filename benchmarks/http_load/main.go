// The loads of HTTP/1.1 that wrk cannot make: one long body, and requests at a set pace.
//
//	http_load target LISTEN...                      sends and takes bodies, at several addresses
//	http_load body DOOR WAY BYTES                   moves one body, prints JSON
//	http_load pace DOOR CONNECTIONS RATE SECONDS    requests when they are due, prints JSON
//
// WAY is `there`, from the client to the target, or `back`. What is sent is counted where it
// arrives, and a body that is short or long ends the client with an error, as any other status than
// 200 does. The target prints "ready" when it accepts.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"time"
)

const pieceBytes = 256 << 10 // of a body, at a time: large enough that neither end limits a relay

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return value
}

func main() {
	log.SetFlags(0)
	arguments := os.Args[1:]
	switch {
	case len(arguments) >= 2 && arguments[0] == "target":
		target(arguments[1:])
	case len(arguments) == 4 && arguments[0] == "body":
		fmt.Println(body(arguments[1], arguments[2], number(arguments[3])))
	case len(arguments) == 5 && arguments[0] == "pace":
		count, rate := int(number(arguments[2])), number(arguments[3])
		duration := time.Duration(number(arguments[4])) * time.Second
		fmt.Println(pace(arguments[1], count, rate, duration))
	default:
		log.Fatal("wrong arguments: see main.go")
	}
}
