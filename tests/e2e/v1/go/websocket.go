package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// WebSocket is the client end of RFC 6455, as much as the protocol uses. Messages from the daemon must come as one
// unmasked, unfragmented, uncompressed frame each; anything else is an error.
type WebSocket struct {
	conn   net.Conn
	reader *bufio.Reader
}

// ClosedError says that the other side closed, and how.
type ClosedError struct {
	Code   int
	Reason string
}

func (e *ClosedError) Error() string { return fmt.Sprintf("closed: %d %q", e.Code, e.Reason) }

// StatusError is a handshake that was answered otherwise.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
	maxMessage     = 10 << 20 // the Go SDK's read limit
)

func dialWebSocket(conn net.Conn, path string, header http.Header) (*WebSocket, error) {
	raw := make([]byte, 16)
	rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	var request bytes.Buffer
	fmt.Fprintf(&request, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", path)
	fmt.Fprintf(&request, "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n", key)
	header.Write(&request)
	request.WriteString("\r\n")
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := conn.Write(request.Bytes()); err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(conn, 1<<16)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		return nil, &StatusError{response.StatusCode, string(body)}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if response.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errors.New("wrong Sec-WebSocket-Accept")
	}
	if response.Header.Get("Sec-WebSocket-Extensions") != "" {
		return nil, errors.New("an extension nobody asked for")
	}
	return &WebSocket{conn, reader}, nil
}

func (w *WebSocket) writeFrame(opcode byte, payload []byte, fin bool) error {
	head := []byte{opcode, 0x80}
	if fin {
		head[0] |= 0x80
	}
	switch size := len(payload); {
	case size < 126:
		head[1] |= byte(size)
	case size < 1<<16:
		head[1] |= 126
		head = binary.BigEndian.AppendUint16(head, uint16(size))
	default:
		head[1] |= 127
		head = binary.BigEndian.AppendUint64(head, uint64(size))
	}
	mask := make([]byte, 4)
	rand.Read(mask)
	frame := append(append(head, mask...), payload...)
	body := frame[len(frame)-len(payload):]
	for i := range body {
		body[i] ^= mask[i%4]
	}
	_, err := w.conn.Write(frame)
	return err
}

// readMessage returns the next data message. Pings are answered on the way.
func (w *WebSocket) readMessage() (byte, []byte, error) {
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(w.reader, head); err != nil {
			return 0, nil, &ClosedError{1006, err.Error()}
		}
		if head[0]&0x80 == 0 || head[0]&0x70 != 0 || head[0]&0x0f == opContinuation {
			return 0, nil, fmt.Errorf("fragmented or compressed frame %#x", head[0])
		}
		if head[1]&0x80 != 0 {
			return 0, nil, errors.New("a masked frame from a server")
		}
		size := uint64(head[1])
		if size >= 126 {
			more := make([]byte, map[uint64]int{126: 2, 127: 8}[size])
			if _, err := io.ReadFull(w.reader, more); err != nil {
				return 0, nil, &ClosedError{1006, err.Error()}
			}
			size = 0
			for _, b := range more {
				size = size<<8 | uint64(b)
			}
		}
		if size > maxMessage {
			return 0, nil, fmt.Errorf("a message of %d bytes", size)
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(w.reader, payload); err != nil {
			return 0, nil, &ClosedError{1006, err.Error()}
		}
		switch opcode := head[0] & 0x0f; opcode {
		case opText, opBinary:
			return opcode, payload, nil
		case opPing:
			w.writeFrame(opPong, payload, true)
		case opPong:
		case opClose:
			closed := &ClosedError{1005, ""}
			if len(payload) >= 2 {
				closed = &ClosedError{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
			}
			w.writeFrame(opClose, payload[:min(2, len(payload))], true)
			return 0, nil, closed
		default:
			return 0, nil, fmt.Errorf("opcode %d", opcode)
		}
	}
}

func (w *WebSocket) close() {
	w.writeFrame(opClose, []byte{0x03, 0xe8}, true)
	for {
		if _, _, err := w.readMessage(); err != nil {
			break
		}
	}
	w.conn.Close()
}
