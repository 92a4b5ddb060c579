package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
)

var swallowed uint64

func target(listen string) {
	listener, err := net.Listen("tcp", listen)
	check(err)
	fmt.Println("ready")
	for {
		accepted, err := listener.Accept()
		check(err)
		go serve(accepted.(*net.TCPConn))
	}
}

func serve(connection *net.TCPConn) {
	defer connection.Close()
	kind := make([]byte, 1)
	if _, err := io.ReadFull(connection, kind); err != nil {
		return
	}
	switch kind[0] {
	case echoes:
		echoElsewhere(connection)
	case swallows:
		swallow(connection, &swallowed)
	case pours:
		go pour(connection)
		connection.Read(kind) // a byte, or the end of the client
		connection.CloseWrite()
		io.Copy(io.Discard, connection)
	case counts:
		binary.Write(connection, binary.BigEndian, atomic.LoadUint64(&swallowed))
	}
}

// swallow reads to the end, and adds to count what it has read. As in the other loops of bulk, every
// stream has its turn after each piece: one that never has to wait would keep the others waiting.
func swallow(connection io.Reader, count *uint64) {
	buffer := make([]byte, bulkBytes)
	for {
		size, err := connection.Read(buffer)
		atomic.AddUint64(count, uint64(size))
		if err != nil {
			return
		}
		runtime.Gosched()
	}
}

// pour writes until the connection takes no more.
func pour(connection io.Writer) {
	buffer := make([]byte, bulkBytes)
	for {
		if _, err := connection.Write(buffer); err != nil {
			return
		}
		runtime.Gosched()
	}
}

// echoElsewhere hands a connection to a process of its own, and waits until it is over.
func echoElsewhere(connection *net.TCPConn) {
	file, err := connection.File()
	if err != nil {
		return
	}
	connection.Close()
	command := exec.Command(os.Args[0], "echo")
	command.ExtraFiles = []*os.File{file}
	command.Stderr = os.Stderr
	err = command.Start()
	file.Close()
	check(err)
	command.Wait()
}

// echoInherited sends back whatever comes over the connection that this process was given.
func echoInherited() {
	connection, err := net.FileConn(os.NewFile(3, "connection"))
	check(err)
	buffer := make([]byte, 4096)
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:size]); err != nil {
			return
		}
	}
}
