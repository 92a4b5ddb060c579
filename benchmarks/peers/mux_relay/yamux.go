//go:build yamux

package main

import (
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

// The window of a stream is raised from 256 KiB; everything else is the default.
func config() *yamux.Config {
	settings := yamux.DefaultConfig()
	settings.MaxStreamWindowSize = 4 << 20
	return settings
}

func client(carrier net.Conn) (session, error) {
	return wrap(yamux.Client(carrier, config()))
}

func server(carrier net.Conn) (session, error) {
	return wrap(yamux.Server(carrier, config()))
}

func wrap(made *yamux.Session, err error) (session, error) {
	if err != nil {
		return session{}, err
	}
	return session{
		open:   func() (io.ReadWriteCloser, error) { return made.OpenStream() },
		accept: func() (io.ReadWriteCloser, error) { return made.AcceptStream() },
	}, nil
}
