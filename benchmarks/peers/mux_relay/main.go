// A plain TCP relay over one multiplexed connection: the peer that our path is compared with.
//
//	mux_relay exit  LINK_ADDRESS TARGET_ADDRESS   accepts links, dials the target for each stream
//	mux_relay entry LISTEN_ADDRESS LINK_ADDRESS   accepts clients, opens one stream for each
//
// Which library multiplexes is chosen when it is built, so that neither needs the other's:
// `go build main.go yamux.go` or `go build main.go smux.go`. Prints "ready" on its output when it
// accepts. Go's net package sets TCP_NODELAY by itself.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

// session is what the relay needs of a library; yamux.go and smux.go make one of a connection.
type session struct {
	open   func() (io.ReadWriteCloser, error)
	accept func() (io.ReadWriteCloser, error)
}

// relay copies both ways. Closing a stream passes the end of one direction on, yet its own reader
// then ends as well (yamux: once its buffer is empty): neither library offers more of a half-close.
// io.Copy moves 32 KiB at a time, as in most relays; smux brings a copy of its own for reading.
// With yamux, 256 KiB gives about 1.7 times the bulk rate.
func relay(client *net.TCPConn, stream io.ReadWriteCloser) {
	done := make(chan struct{})
	go func() {
		io.Copy(stream, client)
		stream.Close()
		close(done)
	}()
	io.Copy(client, stream)
	client.CloseWrite()
	<-done
	client.Close()
}

func entry(listener net.Listener, link string) {
	carrier, err := net.Dial("tcp", link)
	check(err)
	made, err := client(carrier)
	check(err)
	fmt.Println("ready")
	for {
		accepted, err := listener.Accept()
		check(err)
		stream, err := made.open()
		check(err)
		go relay(accepted.(*net.TCPConn), stream)
	}
}

func serve(carrier net.Conn, target string) {
	made, err := server(carrier)
	check(err)
	for {
		stream, err := made.accept()
		if err != nil {
			return
		}
		go func() {
			connection, err := net.Dial("tcp", target)
			if err != nil {
				stream.Close()
				return
			}
			relay(connection.(*net.TCPConn), stream)
		}()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: mux_relay entry LISTEN LINK | mux_relay exit LINK TARGET")
	}
	listener, err := net.Listen("tcp", os.Args[2])
	check(err)
	if os.Args[1] == "entry" {
		entry(listener, os.Args[3])
	}
	fmt.Println("ready")
	for {
		carrier, err := listener.Accept()
		check(err)
		go serve(carrier, os.Args[3])
	}
}
