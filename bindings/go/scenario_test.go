package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sandbox.dev/sandbox"
)

// TestScenarios tells the stories of tests/conformance/scenarios in each environment. Set $SANDBOX_SCENARIO_REPORT for the
// report that compare.py reads.
func TestScenarios(t *testing.T) {
	directory := os.Getenv("SANDBOX_SCENARIOS")
	if directory == "" {
		directory = filepath.Join("..", "..", "tests", "conformance", "scenarios")
	}
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	check(t, err)
	if len(files) == 0 {
		t.Fatalf("no stories in %s", directory)
	}
	slices.Sort(files)
	var report io.Writer = io.Discard
	if path := os.Getenv("SANDBOX_SCENARIO_REPORT"); path != "" {
		file, err := os.Create(path)
		check(t, err)
		defer file.Close()
		report = file
	}
	for _, w := range []*world{
		{environment: "embedded", maker: runtimeHere},
		{environment: "daemon", maker: clientThere},
		{environment: "sealed", maker: clientThere},
	} {
		t.Run(w.environment, func(t *testing.T) {
			counts := map[string]int{}
			for _, file := range files {
				text, err := os.ReadFile(file)
				check(t, err)
				root, err := readStory(text)
				check(t, err)
				all := root.(object)
				equal(t, "format", all["format"], any(int64(1)))
				for _, one := range all["stories"].(list) {
					story := one.(object)
					name := fmt.Sprintf("%v.%v", all["area"], story["name"])
					t.Run(name, func(t *testing.T) {
						outcome := w.tell(t, story)
						word, _, _ := strings.Cut(outcome, " ")
						counts[word]++
						fmt.Fprintf(report, "story %s %s %s\n", w.environment, name, strings.ReplaceAll(outcome, "\n", " "))
						if word == "failed" {
							t.Error(outcome)
						}
					})
				}
			}
			fmt.Fprintf(report, "stories %s %d ok, %d failed, %d skipped\n", w.environment, counts["ok"], counts["failed"], counts["skipped"])
		})
	}
}

// world is where a story takes place.
type world struct {
	environment string
	maker       sandbox.Creator
	ctx         context.Context // of the story
}

func (w world) tell(t *testing.T, story object) string {
	for key := range story {
		if !slices.Contains([]string{"name", "about", "environments", "spec", "steps"}, key) {
			return "failed unknown key " + key + " in a story"
		}
	}
	if where, ok := story["environments"].(list); ok && !slices.Contains(where, any(w.environment)) {
		return "skipped not for this environment"
	}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	names := newScope(nil)
	defer names.end()
	names.keep("scratch", saved{fields: object{"": t.TempDir()}})
	steps := story["steps"].(list)
	spec, given := story["spec"]
	if !given {
		spec = object{}
	}
	if spec != nil {
		if err := w.steps(list{object{"do": "create", "save": "box", "args": spec}}, names); err != nil {
			return "failed " + err.Error()
		}
	}
	if err := w.steps(steps, names); err != nil {
		return "failed " + err.Error()
	}
	return "ok"
}

// process is a program and what was read of it.
type process struct {
	*sandbox.RunningProcess
	out, err []byte
}

func dropThing(thing any) {
	if closer, ok := thing.(io.Closer); ok {
		_ = closer.Close() // a sandbox may be gone
	}
}

// on is the object of a step.
func on[T any](s *step, names *scope) (T, error) {
	found, _ := names.find(s.on)
	thing, ok := found.thing.(T)
	if !ok {
		return thing, surprised("%s is not the object of %s", s.on, s.do)
	}
	return thing, nil
}

func (w *world) perform(s *step, args *arguments, names *scope) (saved, error) {
	kind, what, _ := strings.Cut(s.do, ".")
	switch kind {
	case "fs", "env", "net":
		box, err := on[*sandbox.Sandbox](s, names)
		if err != nil {
			return saved{}, err
		}
		switch kind {
		case "env":
			return w.onEnv(box.Env(), what, args)
		case "net":
			return w.onNet(box.Net(), what, args)
		}
		return w.onFiles(box.FS(), what, args)
	case "process":
		if what == "free" {
			_, err := on[*process](s, names)
			names.drop(s.on)
			return saved{}, err
		}
		p, err := on[*process](s, names)
		if err != nil {
			return saved{}, err
		}
		return w.onProcess(p, what, args)
	case "watch":
		watch, err := on[*sandbox.Watch](s, names)
		if err != nil {
			return saved{}, err
		}
		return w.onWatch(watch, what, args)
	case "socket", "host":
		return w.onHost(s, what, args, names)
	}
	return w.onSandbox(s, args, names)
}

func fields(o object, err error) (saved, error) { return saved{fields: o}, err }

func plain(err error) (saved, error) { return saved{}, err }

func (w *world) spec(args *arguments) sandbox.Spec {
	spec := sandbox.Spec{
		Image: args.text("image"), Memory: uint64(args.number("memory")), PIDs: uint32(args.number("pids")),
		OpenFiles: uint32(args.number("open_files")), Disk: uint64(args.number("disk")), Inodes: uint64(args.number("inodes")),
		Env: args.pairs("env"), Workdir: args.text("workdir"), Hostname: args.text("hostname"), User: args.text("user"),
		WritableRoot: args.flag("writable_root", false), Sealed: w.environment == "sealed",
	}
	if cpus, ok := number(argument[any](args, "cpus", int64(0))); ok {
		spec.CPUs = cpus
	}
	switch network := args.text("network"); network {
	case "", "none":
	case "bridge":
		spec.Network = sandbox.NetworkBridge
	default:
		args.wrong = surprised("unknown network %s", network)
	}
	return spec
}

func keepSandbox(box *sandbox.Sandbox, err error) (saved, error) {
	if err != nil {
		return saved{}, err
	}
	return saved{object{"id": box.ID()}, box}, nil
}

func templateFields(t *sandbox.Template, err error) (saved, error) {
	if err != nil {
		return saved{}, err
	}
	return saved{fields: object{"id": t.ID, "label": t.Label, "digest": t.Digest, "size": int64(t.Size)}}, nil
}

type templates interface {
	FindTemplate(ctx context.Context, id string) (*sandbox.Template, error)
	RemoveTemplate(ctx context.Context, id string) error
}

func (w *world) onSandbox(s *step, args *arguments, names *scope) (saved, error) {
	client, _ := w.maker.(*sandbox.Client)
	switch s.do {
	case "create":
		options := []sandbox.CreateOption{w.spec(args)}
		if ttl := args.number("ttl_s"); ttl != 0 {
			options = append(options, sandbox.Request{TTL: time.Duration(ttl) * time.Second})
		}
		if args.has("deadline_ms") {
			options = append(options, sandbox.CreateTimeout(args.milliseconds("deadline_ms", 0)))
		}
		if args.flag("cold", false) {
			options = append(options, sandbox.Cold())
		}
		return keepSandbox(w.maker.Create(w.ctx, options...))
	case "find_template":
		return templateFields(w.maker.(templates).FindTemplate(w.ctx, args.text("id")))
	case "remove_template":
		return plain(w.maker.(templates).RemoveTemplate(w.ctx, args.text("id")))
	case "open", "remove":
		if client == nil {
			return saved{}, surprised("there is no daemon here")
		}
		if s.do == "remove" {
			return plain(client.Remove(w.ctx, args.text("id")))
		}
		return keepSandbox(client.Open(w.ctx, args.text("id"), &sandbox.OpenOptions{Sealed: w.environment == "sealed"}))
	}
	box, err := on[*sandbox.Sandbox](s, names)
	if err != nil {
		return saved{}, err
	}
	switch s.do {
	case "close":
		return plain(box.Close())
	case "pause":
		return plain(box.Pause(w.ctx))
	case "resume":
		return plain(box.Resume(w.ctx))
	case "detach":
		return plain(box.Detach(w.ctx))
	case "closed":
		return fields(object{"closed": box.Closed()}, nil)
	case "ping":
		ctx, cancel := context.WithTimeout(w.ctx, args.milliseconds("timeout_ms", 5000))
		defer cancel()
		trip, err := box.Ping(ctx)
		return fields(object{"round_trip_ns": int64(trip)}, err)
	case "stats":
		now, err := box.Stats(w.ctx)
		return fields(object{
			"cpu_time_ns": int64(now.CPUTime), "memory": int64(now.Memory), "memory_peak": int64(now.MemoryPeak),
			"memory_limit": int64(now.MemoryLimit), "pids": int64(now.PIDs), "disk_used": int64(now.DiskUsed),
			"inodes_used": int64(now.InodesUsed), "oom_kills": int64(now.OOMKills), "uptime_ns": int64(now.Uptime),
		}, err)
	case "save_template":
		return templateFields(box.SaveTemplate(w.ctx, args.text("label")))
	case "fingerprint":
		text, err := box.Fingerprint(w.ctx)
		return fields(object{"fingerprint": text}, err)
	case "exec":
		result, err := box.Process().Exec(w.ctx, command(args))
		if err != nil {
			return saved{}, err
		}
		o := statusFields(result.ExitStatus)
		o["stdout"], o["stderr"] = string(result.Stdout), string(result.Stderr)
		return fields(o, nil)
	case "spawn":
		cmd := command(args)
		cmd.OpenStdin = args.flag("open_input", false)
		if args.has("rows") {
			cmd.Terminal = &sandbox.TerminalSize{Rows: uint16(args.number("rows")), Columns: uint16(args.number("columns"))}
		}
		running, err := box.Process().Spawn(w.ctx, cmd)
		if err != nil {
			return saved{}, err
		}
		return saved{object{"pid": int64(running.PID())}, &process{RunningProcess: running}}, nil
	}
	return saved{}, surprised("unknown operation %s", s.do)
}

func command(args *arguments) *sandbox.Command {
	cmd := &sandbox.Command{
		Line: args.text("line"), Argv: args.texts("argv"), Env: args.pairs("env"), ClearEnv: args.flag("clear_env", false),
		Workdir: args.text("workdir"), Timeout: args.milliseconds("timeout_ms", 0), MaxOutput: uint64(args.number("max_output")),
		MergeStderr: args.flag("merge_stderr", false), IdempotencyKey: args.text("idempotency_key"),
	}
	if args.has("input") {
		cmd.Stdin = strings.NewReader(args.text("input"))
	}
	return cmd
}

func statusFields(status sandbox.ExitStatus) object {
	return object{
		"cause": status.Cause.String(), "exit_code": int64(status.ExitCode), "signal": int64(status.Signal),
		"shell_code": int64(status.ShellCode()), "core_dumped": status.CoreDumped, "oom_kills": int64(status.OOMKills),
		"stdout_bytes": int64(status.StdoutBytes), "stderr_bytes": int64(status.StderrBytes),
		"stdout_dropped": int64(status.StdoutDropped), "stderr_dropped": int64(status.StderrDropped),
		"wall_time_ns": int64(status.WallTime), "max_rss": int64(status.MaxRSS),
	}
}

// read is one read into the buffers; false at the end.
func (p *process) read(ctx context.Context) (bool, error) {
	chunk, err := p.Read(ctx)
	if err == io.EOF {
		return false, nil
	}
	if chunk.Stream == sandbox.Stderr {
		p.err = append(p.err, chunk.Data...)
	} else {
		p.out = append(p.out, chunk.Data...)
	}
	return true, err
}

func (w *world) onProcess(p *process, what string, args *arguments) (saved, error) {
	often := int64(10000)
	if what == "wait" {
		often = 0
	}
	ctx := w.ctx
	if timeout := args.milliseconds("timeout_ms", often); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	switch what {
	case "read_until":
		text := []byte(args.text("text"))
		for {
			if at := bytes.Index(p.out, text); at >= 0 {
				taken := string(p.out[:at+len(text)])
				p.out = p.out[at+len(text):]
				return fields(object{"stdout": taken}, nil)
			}
			if more, err := p.read(ctx); err != nil {
				return saved{}, err
			} else if !more {
				return saved{}, surprised("the output ended before: %s", shown(string(p.out)))
			}
		}
	case "read_all":
		for {
			if more, err := p.read(ctx); err != nil {
				return saved{}, err
			} else if !more {
				break
			}
		}
		o := object{"stdout": string(p.out), "stderr": string(p.err)}
		p.out, p.err = nil, nil
		return fields(o, nil)
	case "read":
		more, err := p.read(ctx)
		return fields(object{"end": !more}, err)
	case "write":
		return plain(p.Write(w.ctx, []byte(args.text("content"))))
	case "close_input":
		return plain(p.CloseStdin())
	case "kill":
		return plain(p.Kill())
	case "signal":
		return plain(p.Signal(syscall.Signal(args.number("signal"))))
	case "resize":
		return plain(p.Resize(sandbox.TerminalSize{Rows: uint16(args.number("rows")), Columns: uint16(args.number("columns"))}))
	case "wait":
		status, err := p.Wait(ctx)
		return fields(statusFields(status), err)
	}
	return saved{}, surprised("unknown operation process.%s", what)
}

func mode(args *arguments) fs.FileMode {
	text := args.text("mode")
	if text == "" {
		return 0
	}
	bits, err := strconv.ParseUint(text, 8, 9)
	if err != nil {
		args.wrong = surprised("mode is %s", text)
	}
	return fs.FileMode(bits)
}

func writeOptions(args *arguments) (options []sandbox.WriteOption) {
	for _, one := range []struct {
		name   string
		option sandbox.WriteOption
	}{{"append", sandbox.Append()}, {"exclusive", sandbox.Exclusive()}, {"make_parents", sandbox.MakeParents()}} {
		if args.flag(one.name, false) {
			options = append(options, one.option)
		}
	}
	return append(options, sandbox.Mode(mode(args)))
}

func infoFields(info sandbox.FileInfo) object {
	return object{
		"path": info.Path, "type": info.Type.String(), "size": int64(info.Size), "mode": strconv.FormatUint(uint64(info.Mode.Perm()), 8),
		"uid": int64(info.UID), "gid": int64(info.GID), "target": info.Target,
	}
}

func filesFields(infos []sandbox.FileInfo, err error) (saved, error) {
	files := make(list, len(infos))
	for i := range infos {
		files[i] = infoFields(infos[i])
	}
	return fields(object{"files": files}, err)
}

func transferFields(moved sandbox.Transfer, err error) (saved, error) {
	return fields(object{"entries": int64(moved.Entries), "bytes": int64(moved.Bytes), "skipped": int64(moved.Skipped)}, err)
}

var fileTypes = []sandbox.FileType{sandbox.TypeUnknown, sandbox.TypeRegular, sandbox.TypeDirectory, sandbox.TypeSymlink,
	sandbox.TypeFIFO, sandbox.TypeSocket, sandbox.TypeCharacter, sandbox.TypeBlock}

func (w *world) onFiles(files sandbox.FS, what string, args *arguments) (saved, error) {
	path := args.text("path")
	switch what {
	case "read":
		content, err := files.ReadMax(w.ctx, path, uint64(args.number("max")))
		return fields(object{"content": string(content)}, err)
	case "read_range":
		content, err := files.ReadRange(w.ctx, path, uint64(args.number("offset")), uint64(args.number("length")))
		return fields(object{"content": string(content)}, err)
	case "write":
		return plain(files.Write(w.ctx, path, []byte(args.text("content")), writeOptions(args)...))
	case "stream_read":
		reader, err := files.Open(w.ctx, path)
		if err != nil {
			return saved{}, err
		}
		defer reader.Close()
		content, err := io.ReadAll(reader)
		return fields(object{"content": string(content)}, err)
	case "stream_write", "abandon_write":
		return w.streamWrite(files, path, what == "abandon_write", args)
	case "upload":
		return transferFields(files.Upload(w.ctx, args.text("host_path"), path))
	case "download":
		return transferFields(files.Download(w.ctx, path, args.text("host_path")))
	case "list":
		return filesFields(files.List(w.ctx, path))
	case "find":
		options := &sandbox.FindOptions{MaxDepth: uint32(args.number("max_depth")), MaxResults: uint64(args.number("max_results"))}
		if name := args.text("type"); name != "" {
			at := slices.IndexFunc(fileTypes, func(t sandbox.FileType) bool { return t.String() == name })
			if at < 0 {
				return saved{}, surprised("unknown type %s", name)
			}
			options.Type = fileTypes[at]
		}
		return filesFields(files.Find(w.ctx, args.text("root"), args.text("pattern"), options))
	case "stat":
		look := files.Stat
		if !args.flag("follow", true) {
			look = files.Lstat
		}
		info, err := look(w.ctx, path)
		return fields(infoFields(info), err)
	case "mkdir":
		return plain(files.Mkdir(w.ctx, path))
	case "remove":
		if args.flag("recursive", false) {
			return plain(files.RemoveAll(w.ctx, path))
		}
		return plain(files.Remove(w.ctx, path))
	case "rename":
		return plain(files.Rename(w.ctx, args.text("from"), args.text("to")))
	case "copy":
		count, err := files.Copy(w.ctx, args.text("from"), args.text("to"))
		return fields(object{"bytes": int64(count)}, err)
	case "symlink":
		return plain(files.Symlink(w.ctx, args.text("target"), path))
	case "chmod":
		return plain(files.Chmod(w.ctx, path, mode(args)))
	case "watch":
		watch, err := files.Watch(w.ctx, path, args.flag("recursive", true))
		if err != nil {
			return saved{}, err
		}
		return saved{object{}, watch}, nil
	}
	return saved{}, surprised("unknown operation fs.%s", what)
}

func (w *world) streamWrite(files sandbox.FS, path string, abandon bool, args *arguments) (saved, error) {
	content := []byte(args.text("content"))
	if abandon {
		writer, err := files.Create(w.ctx, path)
		if err != nil {
			return saved{}, err
		}
		defer writer.Abort()
		_, err = writer.Write(content)
		return plain(err)
	}
	piece := int(argument[int64](args, "piece", 65536))
	writer, err := files.Create(w.ctx, path, writeOptions(args)...)
	if err != nil {
		return saved{}, err
	}
	for part := range slices.Chunk(content, piece) {
		if _, err := writer.Write(part); err != nil {
			writer.Close()
			return saved{}, err
		}
	}
	moved, err := writer.Finish()
	return fields(object{"bytes": int64(moved.Bytes)}, err)
}

func (w *world) onWatch(watch *sandbox.Watch, what string, args *arguments) (saved, error) {
	ctx, cancel := context.WithTimeout(w.ctx, args.milliseconds("timeout_ms", 10000))
	defer cancel()
	change, path := args.text("change"), args.text("path")
	if what != "until" && (what != "next" || change+path != "") {
		return saved{}, surprised("unknown operation watch.%s", what)
	}
	for {
		event, err := watch.Next(ctx)
		if err != nil || what == "next" || event.Change.String() == change && event.Path == path {
			return fields(object{
				"change": event.Change.String(), "path": event.Path, "old_path": event.OldPath, "type": event.Type.String(),
			}, err)
		}
	}
}

func (w *world) onEnv(env sandbox.Env, what string, args *arguments) (saved, error) {
	switch what {
	case "get":
		value, set, err := env.Get(w.ctx, args.text("name"))
		if !set {
			return fields(object{"value": nil}, err)
		}
		return fields(object{"value": value}, err)
	case "set":
		return plain(env.Set(w.ctx, args.text("name"), args.text("value")))
	case "unset":
		return plain(env.Unset(w.ctx, args.text("name")))
	case "all":
		all, err := env.All(w.ctx)
		items := list{}
		for name, value := range all {
			items = append(items, object{"name": name, "value": value})
		}
		return fields(object{"env": items}, err)
	}
	return saved{}, surprised("unknown operation env.%s", what)
}

func portFields(port sandbox.ExposedPort) object {
	return object{"port": int64(port.Port), "host_port": int64(port.HostPort), "host_address": port.HostAddress}
}

func (w *world) onNet(ports sandbox.Net, what string, args *arguments) (saved, error) {
	port := uint16(args.number("port"))
	switch what {
	case "connect":
		ctx, cancel := context.WithTimeout(w.ctx, args.milliseconds("timeout_ms", 5000))
		defer cancel()
		conn, err := ports.Connect(ctx, port)
		if err != nil {
			return saved{}, err
		}
		return saved{object{}, conn}, nil
	case "expose":
		ctx, cancel := context.WithTimeout(w.ctx, args.milliseconds("timeout_ms", 30000))
		defer cancel()
		exposed, err := ports.Expose(ctx, port, uint16(args.number("host_port")))
		return fields(portFields(exposed), err)
	case "list":
		all, err := ports.List(w.ctx)
		items := make(list, len(all))
		for i := range all {
			items[i] = portFields(all[i])
		}
		return fields(object{"ports": items}, err)
	case "close":
		return plain(ports.Close(w.ctx, port))
	}
	return saved{}, surprised("unknown operation net.%s", what)
}

func (w *world) onHost(s *step, what string, args *arguments, names *scope) (saved, error) {
	switch s.do {
	case "host.write":
		return plain(os.WriteFile(args.text("path"), []byte(args.text("content")), 0o666))
	case "host.read":
		content, err := os.ReadFile(args.text("path"))
		if errors.Is(err, fs.ErrNotExist) {
			err = &sandbox.Error{Code: sandbox.CodeNotFound, Message: err.Error()}
		}
		return fields(object{"content": string(content)}, err)
	case "socket.open":
		conn, err := net.Dial("tcp", net.JoinHostPort(args.text("address"), strconv.FormatInt(args.number("port"), 10)))
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = &sandbox.Error{Code: sandbox.CodeUnavailable, Message: err.Error()}
		}
		if err != nil {
			return saved{}, err
		}
		return saved{object{}, conn}, nil
	}
	conn, err := on[net.Conn](s, names)
	if err != nil {
		return saved{}, err
	}
	switch what {
	case "write":
		_, err := conn.Write([]byte(args.text("content")))
		return plain(err)
	case "end":
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok {
			return saved{}, surprised("%T has no half-close", conn)
		}
		return plain(half.CloseWrite())
	case "read_all":
		if err := conn.SetReadDeadline(time.Now().Add(args.milliseconds("timeout_ms", 10000))); err != nil {
			return saved{}, err
		}
		content, err := io.ReadAll(conn)
		return fields(object{"content": string(content)}, err)
	}
	return saved{}, surprised("unknown operation %s", s.do)
}
