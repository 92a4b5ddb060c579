//go:build smux

package main

import (
	"io"
	"net"

	"github.com/xtaci/smux"
)

// Version 2 has a window for each stream, as yamux has; it is raised from 64 KiB to the same size,
// and the buffer of the session from 4 MiB, so that one stream cannot fill it.
func config() *smux.Config {
	settings := smux.DefaultConfig()
	settings.Version = 2
	settings.MaxStreamBuffer = 4 << 20
	settings.MaxReceiveBuffer = 64 << 20
	return settings
}

func client(carrier net.Conn) (session, error) {
	return wrap(smux.Client(carrier, config()))
}

func server(carrier net.Conn) (session, error) {
	return wrap(smux.Server(carrier, config()))
}

func wrap(made *smux.Session, err error) (session, error) {
	if err != nil {
		return session{}, err
	}
	return session{
		open:   func() (io.ReadWriteCloser, error) { return made.OpenStream() },
		accept: func() (io.ReadWriteCloser, error) { return made.AcceptStream() },
	}, nil
}
