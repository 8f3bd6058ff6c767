package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Daemon is where one listens.
type Daemon struct {
	socket string
	client *http.Client
	sign   func(method, path string) http.Header // nil: single user
}

func newDaemon(socket string, sign func(method, path string) http.Header) *Daemon {
	dial := func() (net.Conn, error) { return net.Dial("unix", socket) }
	transport := &http.Transport{DisableKeepAlives: true, Dial: func(_, _ string) (net.Conn, error) { return dial() }}
	return &Daemon{socket, &http.Client{Transport: transport, Timeout: 60 * time.Second}, sign}
}

func (d *Daemon) header(method, path string) http.Header {
	if d.sign == nil {
		return http.Header{}
	}
	return d.sign(method, path)
}

func (d *Daemon) ask(method, path, body string) (int, http.Header, string, error) {
	request, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	for name, values := range d.header(method, strings.SplitN(path, "?", 2)[0]) {
		request.Header[name] = values
	}
	response, err := d.client.Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(text), err
}

// signer makes the headers of section 1.9.
func signer(seed []byte, identity, concurrent string) func(method, path string) http.Header {
	key := ed25519.NewKeyFromSeed(seed)
	return func(method, path string) http.Header {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		text := strings.Join([]string{method, path, identity, concurrent, "", "", at}, "\n")
		header := http.Header{}
		header.Set("X-Sandbox-Identity", identity)
		header.Set("X-Sandbox-Timestamp", at)
		header.Set("X-Sandbox-Signature", base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(text))))
		if concurrent != "" {
			header.Set("X-Sandbox-Max-Concurrent", concurrent)
		}
		return header
	}
}

type message struct {
	Version string          `json:"jsonrpc"`
	ID      *int64          `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

type envelope struct {
	Encrypted string `json:"_encrypted"`
}

// Session is a JSON-RPC client with the wire habits of the published Go SDK.
type Session struct {
	*WebSocket
	next          int64
	aead          cipher.AEAD
	binaries      [][]byte
	notifications []message
}

func (d *Daemon) connect(id string) (*Session, error) {
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		return nil, err
	}
	path := "/sandboxes/" + id + "/ws"
	socket, err := dialWebSocket(conn, path, d.header("GET", path))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &Session{WebSocket: socket, next: 1}, nil
}

func (s *Session) seal(plain []byte) []byte {
	nonce := make([]byte, 12)
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plain, nil)
}

func (s *Session) open(blob []byte) ([]byte, error) {
	if len(blob) < 12 {
		return nil, errors.New("a blob without a nonce")
	}
	return s.aead.Open(nil, blob[:12], blob[12:], nil)
}

// params turns what a caller gives into what is sent. Absent ones become the text null under encryption.
func (s *Session) params(params any) json.RawMessage {
	text, _ := json.Marshal(params)
	if s.aead == nil {
		if params == nil {
			return nil
		}
		return text
	}
	sealed, _ := json.Marshal(envelope{base64.StdEncoding.EncodeToString(s.seal(text))})
	return sealed
}

func (s *Session) opened(result json.RawMessage) (json.RawMessage, error) {
	var found envelope
	if s.aead == nil || json.Unmarshal(result, &found) != nil || found.Encrypted == "" {
		return result, nil
	}
	blob, err := base64.StdEncoding.DecodeString(found.Encrypted)
	if err != nil {
		return nil, err
	}
	return s.open(blob)
}

func (s *Session) send(method string, params any, content ...[]byte) (int64, error) {
	id := s.next
	s.next++
	text, _ := json.Marshal(message{Version: "2.0", ID: &id, Method: method, Params: s.params(params)})
	if err := s.writeFrame(opText, text, true); err != nil {
		return 0, err
	}
	for _, piece := range content {
		if err := s.writeFrame(opBinary, piece, true); err != nil {
			return 0, err
		}
	}
	return id, nil
}

func (s *Session) notify(method string, params any) error {
	text, _ := json.Marshal(params)
	text, _ = json.Marshal(message{Version: "2.0", Method: method, Params: text})
	return s.writeFrame(opText, text, true)
}

// pump reads one message; a reply is returned, everything else is kept.
func (s *Session) pump() (*message, error) {
	opcode, payload, err := s.readMessage()
	if err != nil {
		return nil, err
	}
	if opcode == opBinary {
		s.binaries = append(s.binaries, payload)
		return nil, nil
	}
	var got message
	if err := json.Unmarshal(payload, &got); err != nil || got.Version != "2.0" {
		return nil, fmt.Errorf("not JSON-RPC: %.200s", payload)
	}
	if got.Method != "" {
		if got.Params, err = s.opened(got.Params); err != nil {
			return nil, err
		}
		s.notifications = append(s.notifications, got)
		return nil, nil
	}
	return &got, nil
}

func (s *Session) wait(id int64) (json.RawMessage, error) {
	for {
		got, err := s.pump()
		if err != nil {
			return nil, err
		}
		if got == nil || got.ID == nil || *got.ID != id {
			continue
		}
		if got.Error != nil {
			return nil, got.Error
		}
		return s.opened(got.Result)
	}
}

// call decodes the result into `into`, unless that is nil.
func (s *Session) call(method string, params, into any, content ...[]byte) error {
	id, err := s.send(method, params, content...)
	if err != nil {
		return err
	}
	result, err := s.wait(id)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(result, into)
}

func (s *Session) until(method string, match func(params json.RawMessage) bool) error {
	for seen := 0; ; {
		for ; seen < len(s.notifications); seen++ {
			if s.notifications[seen].Method == method && match(s.notifications[seen].Params) {
				return nil
			}
		}
		if _, err := s.pump(); err != nil {
			return err
		}
	}
}

func (s *Session) negotiate() error {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var answer struct {
		PublicKey string `json:"public_key"`
	}
	s.aead = nil
	own := map[string]string{"public_key": base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())}
	if err := s.call("session.negotiate_e2e", own, &answer); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(answer.PublicKey)
	if err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return err
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(shared)
	if err != nil {
		return err
	}
	s.aead, err = cipher.NewGCM(block)
	return err
}

const chunk = 1 << 20

// write sends content as the SDK does: pieces of 1 MiB, of 1 MiB - 28 under encryption; nothing for empty clear content.
func (s *Session) write(method, path string, content []byte) error {
	size, params := chunk, map[string]any{"path": path, "size": len(content)}
	if s.aead != nil {
		size = chunk - 28
	}
	var pieces [][]byte
	for rest := content; len(rest) > 0; rest = rest[min(size, len(rest)):] {
		pieces = append(pieces, rest[:min(size, len(rest))])
	}
	if s.aead != nil {
		if len(pieces) == 0 {
			pieces = [][]byte{{}}
		}
		for i := range pieces {
			pieces[i] = s.seal(pieces[i])
		}
	}
	if len(pieces) > 1 && (s.aead != nil || method == "fs.write") {
		params["chunked"], params["chunks"] = true, len(pieces)
	}
	return s.call(method, params, nil, pieces...)
}

func (s *Session) read(method, path string) ([]byte, error) {
	s.binaries = nil
	if err := s.call(method, map[string]any{"path": path}, nil); err != nil {
		return nil, err
	}
	var all []byte
	for _, piece := range s.binaries {
		if s.aead != nil && len(piece) > 0 {
			plain, err := s.open(piece)
			if err != nil {
				return nil, err
			}
			piece = plain
		}
		all = append(all, piece...)
	}
	s.binaries = nil
	return all, nil
}
