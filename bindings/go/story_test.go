package sandbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sandbox.dev/sandbox"
)

// The language of tests/conformance/scenarios: its README.md says what everything means. Values are nil, bool, int64,
// float64, string (text and bytes), list and object.

type (
	list   = []any
	object = map[string]any
)

// surprise ends a story.
type surprise string

func (s surprise) Error() string { return string(s) }

func surprised(format string, arguments ...any) error {
	return surprise(fmt.Sprintf(format, arguments...))
}

func readStory(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return numbers(value)
}

func numbers(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole, nil
		}
		return value.Float64()
	case list:
		for i := range value {
			if value[i], err = numbers(value[i]); err != nil {
				return nil, err
			}
		}
	case object:
		for key := range value {
			if value[key], err = numbers(value[key]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func shown(value any) string {
	text := fmt.Sprintf("%#v", value)
	if plain, ok := value.(string); ok {
		text = strconv.Quote(plain[:min(len(plain), 80)])
		if len(plain) > 80 {
			text += fmt.Sprintf(" (%d bytes)", len(plain))
		}
	}
	return text[:min(len(text), 400)]
}

// saved is what a step left: fields for references, and an object to do things to.
type saved struct {
	fields object
	thing  any
}

// scope is names; a branch of a parallel step has its own within the outer one.
type scope struct {
	outer *scope
	mutex sync.Mutex
	names map[string]saved
}

func newScope(outer *scope) *scope { return &scope{outer: outer, names: map[string]saved{}} }

func (s *scope) find(name string) (saved, bool) {
	s.mutex.Lock()
	found, ok := s.names[name]
	s.mutex.Unlock()
	if !ok && s.outer != nil {
		return s.outer.find(name)
	}
	return found, ok
}

func (s *scope) keep(name string, what saved) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if old, ok := s.names[name]; ok {
		dropThing(old.thing)
	}
	s.names[name] = what
}

func (s *scope) drop(name string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	dropThing(s.names[name].thing)
	delete(s.names, name)
}

func (s *scope) end() {
	for _, name := range slices.Collect(maps.Keys(s.names)) {
		s.drop(name)
	}
}

var generators = []string{"$", "join", "base64", "repeat", "numbered"}

func isGenerator(o object) bool {
	return slices.ContainsFunc(generators, func(key string) bool { _, ok := o[key]; return ok })
}

// resolve replaces the objects that stand for values.
func resolve(value any, names *scope) (any, error) {
	var err error
	switch value := value.(type) {
	case list:
		out := make(list, len(value))
		for i := range value {
			if out[i], err = resolve(value[i], names); err != nil {
				return nil, err
			}
		}
		return out, nil
	case object:
		if isGenerator(value) {
			return generate(value, names)
		}
		out := make(object, len(value))
		for key := range value {
			if out[key], err = resolve(value[key], names); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return value, nil
}

func generate(o object, names *scope) (any, error) {
	if text, ok := o["repeat"].(string); ok && len(o) == 2 {
		times, ok := o["times"].(int64)
		if !ok || times < 0 {
			return nil, surprised("repeat how often?")
		}
		return strings.Repeat(text, int(times)), nil
	}
	if len(o) != 1 {
		return nil, surprised("unknown keys in %s", shown(o))
	}
	if reference, ok := o["$"].(string); ok {
		name, field, _ := strings.Cut(reference, ".")
		found, ok := names.find(name)
		if !ok {
			return nil, surprised("nothing is known as %s", reference)
		}
		value, ok := found.fields[field]
		if !ok {
			return nil, surprised("nothing is known as %s", reference)
		}
		return value, nil
	}
	if parts, ok := o["join"].(list); ok {
		var out strings.Builder
		for _, part := range parts {
			value, err := resolve(part, names)
			if err != nil {
				return nil, err
			}
			switch value.(type) {
			case string, int64:
				fmt.Fprint(&out, value)
			default:
				return nil, surprised("join takes strings and whole numbers, not %s", shown(value))
			}
		}
		return out.String(), nil
	}
	if text, ok := o["base64"].(string); ok {
		content, err := base64.StdEncoding.DecodeString(text)
		return string(content), err
	}
	if count, ok := o["numbered"].(int64); ok {
		var out strings.Builder
		for i := range count {
			fmt.Fprintf(&out, "%015d\n", i)
		}
		return out.String(), nil
	}
	return nil, surprised("unknown value %s", shown(o))
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case list:
		b, ok := b.(list)
		return ok && slices.EqualFunc(a, b, sameValue)
	case object:
		b, ok := b.(object)
		return ok && maps.EqualFunc(a, b, sameValue)
	}
	switch b.(type) {
	case list, object:
		return false
	}
	return a == b
}

func matches(actual, matcher any, names *scope) (bool, error) {
	switch wanted := matcher.(type) {
	case list:
		items, ok := actual.(list)
		if !ok || len(items) != len(wanted) {
			return false, nil
		}
		for i := range wanted {
			if ok, err := matches(items[i], wanted[i], names); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	case object:
		if isGenerator(wanted) {
			value, err := resolve(wanted, names)
			return err == nil && sameValue(actual, value), err
		}
		if len(wanted) == 0 {
			return false, surprised("a matcher without conditions")
		}
		for condition, value := range wanted {
			if ok, err := holds(condition, actual, value, names); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	return sameValue(actual, matcher), nil
}

func holds(condition string, actual, wanted any, names *scope) (bool, error) {
	switch condition {
	case "not":
		ok, err := matches(actual, wanted, names)
		return !ok, err
	case "fields":
		return matchesFields(actual, wanted, names)
	case "has", "one_of":
		items, ok := actual.(list)
		if condition == "one_of" {
			items, ok = wanted.(list)
		}
		for _, item := range items {
			one, matcher := item, wanted
			if condition == "one_of" {
				one, matcher = actual, item
			}
			if ok, err := matches(one, matcher, names); ok || err != nil {
				return ok, err
			}
		}
		if !ok && condition == "one_of" {
			return false, surprised("one_of takes a list")
		}
		return false, nil
	case "size":
		switch actual := actual.(type) {
		case string:
			return matches(int64(len(actual)), wanted, names)
		case list:
			return matches(int64(len(actual)), wanted, names)
		}
		return false, nil
	}
	value, err := resolve(wanted, names)
	if err != nil {
		return false, err
	}
	if condition == "equals" {
		return sameValue(actual, value), nil
	}
	if condition == "at_least" || condition == "at_most" {
		left, ok := number(actual)
		right, known := number(value)
		if !known {
			return false, surprised("%s takes a number", condition)
		}
		return ok && (condition == "at_least" && left >= right || condition == "at_most" && left <= right), nil
	}
	part, ok := value.(string)
	text, isText := actual.(string)
	compare, known := map[string]func(string, string) bool{
		"contains": strings.Contains, "starts_with": strings.HasPrefix, "ends_with": strings.HasSuffix,
	}[condition]
	if !known || !ok {
		return false, surprised("unknown condition %s: %s", condition, shown(value))
	}
	return isText && compare(text, part), nil
}

func number(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case float64:
		return value, true
	}
	return 0, false
}

func matchesFields(actual, wanted any, names *scope) (bool, error) {
	fields, ok := actual.(object)
	conditions, known := wanted.(object)
	if !known {
		return false, surprised("fields takes an object")
	}
	if !ok {
		return false, nil
	}
	for name, matcher := range conditions {
		field, ok := fields[name]
		if !ok {
			return false, surprised("there is no field %s", name)
		}
		if ok, err := matches(field, matcher, names); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// step is one line of a story.
type step struct {
	do, on, save   string
	args           object
	expect, failed any
	within         time.Duration
}

func newStep(value any) (*step, error) {
	o, ok := value.(object)
	if !ok {
		return nil, surprised("a step is %s", shown(value))
	}
	s := &step{on: "box", args: object{}}
	for key, value := range o {
		ok := true
		switch key {
		case "do":
			s.do, ok = value.(string)
		case "on":
			s.on, ok = value.(string)
		case "save":
			s.save, ok = value.(string)
		case "args":
			s.args, ok = value.(object)
		case "expect":
			s.expect = value
		case "error":
			s.failed = value
		case "within_ms":
			var count int64
			count, ok = value.(int64)
			s.within = time.Duration(count) * time.Millisecond
		default:
			ok = false
		}
		if !ok {
			return nil, surprised("unknown key %s in a step", key)
		}
	}
	return s, nil
}

// take runs the step as often as it says.
func (s *step) take(w *world, names *scope) error {
	for deadline := time.Now().Add(s.within); ; time.Sleep(10 * time.Millisecond) {
		err := s.once(w, names)
		if err == nil || !time.Now().Before(deadline) {
			return err
		}
	}
}

func (s *step) once(w *world, names *scope) error {
	if s.do == "parallel" {
		return parallel(w, s.args, names)
	}
	resolved, err := resolve(s.args, names)
	if err != nil {
		return err
	}
	args := &arguments{values: resolved.(object)}
	result, err := w.perform(s, args, names)
	if wrong := args.finish(); wrong != nil {
		dropThing(result.thing)
		return wrong
	}
	if unexpected := surprise(""); errors.As(err, &unexpected) {
		return err
	}
	if s.failed != nil {
		dropThing(result.thing)
		return expectError(err, s.failed, names)
	}
	if err != nil {
		return err
	}
	if s.save != "" {
		names.keep(s.save, result)
	} else {
		dropThing(result.thing)
	}
	if s.expect == nil {
		return nil
	}
	wanted, ok := s.expect.(object)
	if !ok {
		return surprised("expect is %s", shown(s.expect))
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		field, ok := result.fields[name]
		if !ok {
			return surprised("there is no field %s", name)
		}
		if ok, err := matches(field, wanted[name], names); err != nil {
			return err
		} else if !ok {
			return surprised("%s is %s, wanted %s", name, shown(field), shown(wanted[name]))
		}
	}
	return nil
}

func expectError(err error, wanted any, names *scope) error {
	if err == nil {
		return surprised("it succeeded, wanted %s", shown(wanted))
	}
	var failed *sandbox.Error
	if !errors.As(err, &failed) {
		return surprised("it failed with %v, which has no code", err)
	}
	if code, ok := wanted.(string); ok {
		wanted = object{"code": code}
	}
	ok, wrong := matchesFields(object{
		"code": failed.Code.String(), "message": failed.Message, "operation": failed.Operation, "errno": int64(failed.Errno),
		"retry": strings.ReplaceAll(failed.Retry.String(), " ", "_"),
	}, wanted, names)
	if wrong == nil && !ok {
		return surprised("it failed with %v, wanted %s", err, shown(wanted))
	}
	return wrong
}

func parallel(w *world, args object, names *scope) error {
	branches, ok := args["branches"].(list)
	times, isCount := args["times"].(int64)
	if !isCount {
		times = 1
	}
	if !ok || len(args) != 1 && !(isCount && len(args) == 2) {
		return surprised("parallel with %s", shown(args))
	}
	errs := make(chan error, len(branches)*int(times))
	for _, branch := range branches {
		for index := range times {
			go func() {
				inner := newScope(names)
				inner.keep("index", saved{fields: object{"": index}})
				defer inner.end()
				steps, ok := branch.(list)
				if !ok {
					errs <- surprised("a branch is %s", shown(branch))
					return
				}
				errs <- w.steps(steps, inner)
			}()
		}
	}
	var first error
	for range cap(errs) {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func (w *world) steps(steps list, names *scope) error {
	for i, value := range steps {
		s, err := newStep(value)
		if err == nil {
			err = s.take(w, names)
		}
		if err != nil {
			return surprised("step %d %v: %v", i+1, value.(object)["do"], err)
		}
	}
	return nil
}

// arguments hands out the arguments of one operation and knows which nobody asked for.
type arguments struct {
	values object
	wrong  error
}

func argument[T any](a *arguments, key string, fallback T) T {
	value, ok := a.values[key]
	if !ok || value == nil {
		delete(a.values, key)
		return fallback
	}
	delete(a.values, key)
	typed, ok := value.(T)
	if !ok {
		a.wrong = surprised("argument %s is %s", key, shown(value))
		return fallback
	}
	return typed
}

func (a *arguments) text(key string) string           { return argument(a, key, "") }
func (a *arguments) flag(key string, often bool) bool { return argument(a, key, often) }
func (a *arguments) number(key string) int64          { return argument[int64](a, key, 0) }
func (a *arguments) has(key string) bool              { value, ok := a.values[key]; return ok && value != nil }
func (a *arguments) milliseconds(key string, often int64) time.Duration {
	return time.Duration(argument(a, key, often)) * time.Millisecond
}

func (a *arguments) pairs(key string) map[string]string {
	pairs := map[string]string{}
	for name, value := range argument(a, key, object{}) {
		text, ok := value.(string)
		if !ok {
			a.wrong = surprised("%s of %s is %s", name, key, shown(value))
		}
		pairs[name] = text
	}
	return pairs
}

func (a *arguments) texts(key string) []string {
	var texts []string
	for _, value := range argument(a, key, list{}) {
		text, ok := value.(string)
		if !ok {
			a.wrong = surprised("an item of %s is %s", key, shown(value))
		}
		texts = append(texts, text)
	}
	return texts
}

func (a *arguments) finish() error {
	for key := range a.values {
		return surprised("unknown argument %s", key)
	}
	return a.wrong
}
