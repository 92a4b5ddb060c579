package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// target serves all addresses until the process is ended.
func target(addresses []string) {
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		check(err)
		go accept(listener)
	}
	fmt.Println("ready")
	select {}
}

func accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		check(err)
		go serve(connection)
	}
}

// serve answers GET /BYTES with so many, none by default, and anything that has a body with how long it was.
func serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if request.Method == "GET" {
			size, _ := strconv.ParseInt(request.URL.Path[1:], 10, 64)
			fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
			if pour(connection, size) != nil {
				return
			}
			continue
		}
		size, err := swallow(request.Body)
		if err != nil {
			return
		}
		text := fmt.Sprint(size)
		fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

func pour(connection io.Writer, size int64) error {
	piece := make([]byte, pieceBytes)
	for size > 0 {
		if size < pieceBytes {
			piece = piece[:size]
		}
		written, err := connection.Write(piece)
		if err != nil {
			return err
		}
		size -= int64(written)
	}
	return nil
}

// swallow reads to the end and returns how much it was.
func swallow(reader io.Reader) (total int64, err error) {
	piece := make([]byte, pieceBytes)
	for {
		size, err := reader.Read(piece)
		total += int64(size)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// body moves one body and returns how long it took, from the request until all of it has arrived.
func body(door, way string, size int64) string {
	connection, err := net.Dial("tcp", door)
	check(err)
	defer connection.Close()
	start := time.Now()
	var arrived int64
	if way == "back" {
		fmt.Fprintf(connection, "GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n", size, door)
		arrived, err = swallow(answer(connection).Body)
	} else {
		form := "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"
		fmt.Fprintf(connection, form, door, size)
		check(pour(connection, size))
		_, err = fmt.Fscan(answer(connection).Body, &arrived)
	}
	check(err)
	micros := time.Since(start).Microseconds()
	if arrived != size {
		log.Fatalf("%d bytes were sent, and %d arrived", size, arrived)
	}
	return fmt.Sprintf(`{"bytes":%d,"micros":%d}`, arrived, micros)
}

func answer(connection net.Conn) *http.Response {
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	check(err)
	if response.StatusCode != 200 {
		log.Fatalf("the answer was %s", response.Status)
	}
	return response
}
