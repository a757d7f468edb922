package main

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// ours begins the full names of our own options.
const ours = "modulebus."

// The names in schemas that this program knows.
const (
	moduleAPIService = "ModuleApi"
	typesFile        = "callbacks/v1/types.proto"
	moduleAPIFile    = "moduleapi/v1/module_api.proto"
)

// Catalogue is all that is said in schemas, as the templates and the bridge's tables see it.
type Catalogue struct {
	Categories []Category
	Types      []Message // those that several callbacks share
	API        []Method  // what modules may ask of the homeserver
	APITypes   []Message // those of the Module API that are no request and no reply
}

// Category is a service.
type Category struct {
	Go, Name, File string
	Index          int // of the service in its file
	Comment        string
	AllOrNone      bool
	Callbacks      []Callback
}

// Callback is an rpc. Its JSON is a row of the bridge's table, in which the request has the order of Synapse's arguments.
type Callback struct {
	Go                 string         `json:"-"`
	Index              int            `json:"-"` // of the rpc in its service
	Comment            string         `json:"-"`
	Category           string         `json:"category"`
	Name               string         `json:"callback"`
	AllOrNone          bool           `json:"all_or_none,omitempty"` // of the category
	Rule               string         `json:"rule"`
	OnFailure          string         `json:"on_failure"`
	OnFailureFederated string         `json:"on_failure_federated,omitempty"`
	Refusal            map[string]any `json:"refusal,omitempty"` // what REFUSE answers
	Speculative        bool           `json:"speculative,omitempty"`
	AtLeastOnce        bool           `json:"-"`
	Since              string         `json:"since"`
	Follows            []string       `json:"follows,omitempty"` // names of the callbacks that it is the second half of
	Verdict            string         `json:"verdict,omitempty"`
	Earlier            *Earlier       `json:"earlier,omitempty"`
	Setting            map[string]any `json:"setting,omitempty"`
	Request            Message        `json:"request"`
	Reply              Message        `json:"reply"`
}

// Earlier is the verdict of every Synapse before a version.
type Earlier struct {
	Before  string `json:"before"`
	Verdict string `json:"verdict"`
}

// FollowUp reports whether it is no callback of Synapse's, but the second half of one.
func (c Callback) FollowUp() bool { return len(c.Follows) > 0 }

// Keyed reports whether modules register for values of a field of the request.
func (c Callback) Keyed() bool {
	return slices.ContainsFunc(c.Request.Fields, func(f Field) bool { return slices.Contains(f.Marks, "key") })
}

// MarshalJSON writes the request in the order of Synapse's arguments.
func (c Callback) MarshalJSON() ([]byte, error) {
	type plain Callback
	c.Request = c.Request.asArguments()
	return marshal(plain(c))
}

// Method is an rpc of the Module API. Its JSON is a row of the bridge's table.
type Method struct {
	Go         string  `json:"-"`
	Index      int     `json:"-"`
	Comment    string  `json:"-"`
	Name       string  `json:"method"`
	Scope      string  `json:"scope"`
	ByDefault  bool    `json:"by_default,omitempty"`
	Since      string  `json:"since"`
	Reads      bool    `json:"reads,omitempty"`
	RunsOn     string  `json:"runs_on,omitempty"`
	Attributes bool    `json:"attributes,omitempty"`
	Of         string  `json:"of,omitempty"`
	Request    Message `json:"request"`
	Reply      Message `json:"reply"`
}

// Message is a message. Its JSON is that of its fields.
type Message struct {
	Go, Comment string
	Fields      []Field
}

// MarshalJSON writes the fields alone.
func (m Message) MarshalJSON() ([]byte, error) { return marshal(append([]Field{}, m.Fields...)) }

// asArguments has the fields in the order of Synapse's arguments.
func (m Message) asArguments() Message {
	fields := slices.Clone(m.Fields)
	for _, f := range m.Fields {
		if f.argument > 0 {
			fields[f.argument-1] = f
		}
	}
	m.Fields = fields
	return m
}

// Field is a field.
type Field struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // a scalar of protobuf, json, or the name of a message
	List     bool     `json:"list,omitempty"`
	Map      bool     `json:"map,omitempty"` // of strings to Type
	Optional bool     `json:"optional,omitempty"`
	Marks    []string `json:"marks,omitempty"` // what fields.proto says of the request of a callback, or of an answer
	User     string   `json:"user,omitempty"`
	As       string   `json:"form,omitempty"` // what Synapse takes in its place
	Only     string   `json:"only,omitempty"`
	Comment  string   `json:"-"`

	argument int
	secret   bool // is not to be printed
}

// Form says what the field holds in the JSON mapping. It is what wire.Form says of the compiled field; a test of docs
// compares the two.
func (f Field) Form() string {
	name := f.Type
	if name == "json" {
		name = "JSON"
	}
	switch {
	case f.Map:
		return "map of " + name
	case f.List:
		return "list of " + name
	case f.Optional:
		return "optional " + name
	}
	return name
}

// marks are the options of fields.proto that matter to the bridge, and are true or absent.
var marks = []string{"final", "key", "keyed", "state", "to_module", "to_worker", "followed_up", "of_request"}

func catalogueOf(files []protoreflect.FileDescriptor) Catalogue {
	var all Catalogue
	for _, f := range files {
		for i := range f.Services().Len() {
			if s := f.Services().Get(i); s.Name() == moduleAPIService {
				all.API = methodsOf(s)
			} else {
				all.Categories = append(all.Categories, categoryOf(s))
			}
		}
		switch f.Path() {
		case typesFile:
			all.Types = messagesOf(f)
		case moduleAPIFile:
			all.APITypes = slices.DeleteFunc(messagesOf(f), ofRPC)
		}
	}
	return all
}

func messagesOf(f protoreflect.FileDescriptor) []Message {
	var all []Message
	for i := range f.Messages().Len() {
		all = append(all, messageOf(f.Messages().Get(i)))
	}
	return all
}

// ofRPC reports whether a message is the options, the request or the reply of an rpc.
func ofRPC(m Message) bool {
	return strings.HasSuffix(m.Go, "Options") || strings.HasSuffix(m.Go, "Request") || strings.HasSuffix(m.Go, "Response")
}

func methodsOf(s protoreflect.ServiceDescriptor) []Method {
	var all []Method
	for i := range s.Methods().Len() {
		d := s.Methods().Get(i)
		o := option(d, "method")
		all = append(all, Method{
			Go: string(d.Name()), Name: snake(string(d.Name())), Index: i, Comment: comment(d),
			Scope: field(o, "scope").String(), Since: field(o, "since").String(), ByDefault: field(o, "by_default").Bool(),
			Reads: field(o, "reads").Bool(), RunsOn: enum(o, "runs_on"), Attributes: field(o, "attributes").Bool(),
			Of:      field(o, "of").String(),
			Request: messageOf(d.Input()), Reply: messageOf(d.Output()),
		})
	}
	return all
}

func categoryOf(s protoreflect.ServiceDescriptor) Category {
	c := Category{
		Go:      string(s.Name()),
		Name:    snake(string(s.Name())),
		File:    "File_" + strings.NewReplacer("/", "_", ".", "_").Replace(s.ParentFile().Path()),
		Index:   s.Index(),
		Comment: comment(s),
	}
	if o := option(s, "category"); o != nil {
		c.AllOrNone = field(o, "all_or_none").Bool()
	}
	for i := range s.Methods().Len() {
		c.Callbacks = append(c.Callbacks, callbackOf(s.Methods().Get(i), c))
	}
	return c
}

func callbackOf(m protoreflect.MethodDescriptor, of Category) Callback {
	o := option(m, "callback")
	c := Callback{
		Go: string(m.Name()), Name: snake(string(m.Name())), Index: m.Index(), Comment: comment(m),
		Category: of.Name, AllOrNone: of.AllOrNone,
		Rule: enum(o, "rule"), OnFailure: strings.ToLower(enum(o, "on_failure")),
		OnFailureFederated: strings.ToLower(enum(o, "on_failure_federated")),
		Refusal:            object(o, "refusal"), Speculative: field(o, "speculative").Bool(), Since: field(o, "since").String(),
		AtLeastOnce: field(o, "at_least_once").Bool(),
		Verdict:     enum(o, "verdict"), Earlier: earlierOf(field(o, "earlier").Message()), Setting: object(o, "setting"),
		Request: messageOf(m.Input()), Reply: messageOf(m.Output()),
	}
	for i := range field(o, "follows").List().Len() {
		c.Follows = append(c.Follows, snake(field(o, "follows").List().Get(i).String()))
	}
	return c
}

func earlierOf(m protoreflect.Message) *Earlier {
	if !m.IsValid() {
		return nil
	}
	return &Earlier{Before: field(m, "before").String(), Verdict: enum(m, "verdict")}
}

func messageOf(m protoreflect.MessageDescriptor) Message {
	out := Message{Go: string(m.Name()), Comment: comment(m)}
	for i := range m.Fields().Len() {
		out.Fields = append(out.Fields, fieldOf(m.Fields().Get(i)))
	}
	return out
}

func fieldOf(f protoreflect.FieldDescriptor) Field {
	value := f
	if f.IsMap() {
		value = f.MapValue()
	}
	out := Field{
		Name: string(f.Name()), Type: value.Kind().String(), Comment: comment(f),
		List: f.IsList(), Map: f.IsMap(), Optional: f.HasOptionalKeyword(),
		User: extendedEnum(f, "user"), As: extendedEnum(f, "form"),
	}
	switch {
	case value.Message() != nil:
		out.Type = string(value.Message().Name())
	case marked(f, "raw_json"):
		out.Type = "json"
	}
	for _, mark := range marks {
		if marked(f, mark) {
			out.Marks = append(out.Marks, mark)
		}
	}
	if o, ok := f.Options().(*descriptorpb.FieldOptions); ok {
		out.secret = o.GetDebugRedact()
	}
	if v, ok := extension(f, "only"); ok {
		out.Only = v.String()
	}
	if v, ok := extension(f, "argument"); ok {
		out.argument = int(v.Uint())
	}
	return out
}

func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, " ")
	}
	return strings.Join(lines, "\n")
}

// option returns the message that the declaration sets for one of our options, or nil.
func option(d protoreflect.Descriptor, name string) protoreflect.Message {
	v, ok := extension(d, name)
	if !ok {
		return nil
	}
	return v.Message()
}

func marked(d protoreflect.Descriptor, name string) bool {
	v, ok := extension(d, name)
	return ok && v.Bool()
}

// extension returns the value of one of our options, which has the wanted name.
func extension(d protoreflect.Descriptor, name string) (value protoreflect.Value, found bool) {
	each(d, func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
		if f.Name() == protoreflect.Name(name) {
			value, found = v, true
		}
	})
	return value, found
}

// extendedEnum returns the name of the value that an option has, or nothing.
func extendedEnum(d protoreflect.Descriptor, name string) (value string) {
	each(d, func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
		if f.Name() == protoreflect.Name(name) {
			value = string(f.Enum().Values().ByNumber(v.Enum()).Name())
		}
	})
	return value
}

// each calls visit with all that a declaration sets of our options.
func each(d protoreflect.Descriptor, visit func(protoreflect.FieldDescriptor, protoreflect.Value)) {
	d.Options().ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if strings.HasPrefix(string(f.FullName()), ours) {
			visit(f, v)
		}
		return true
	})
}

func field(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// enum returns the name of the value that a field has, or nothing where it is unspecified.
func enum(m protoreflect.Message, name string) string {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if !m.Has(f) {
		return ""
	}
	return string(f.Enum().Values().ByNumber(m.Get(f).Enum()).Name())
}

// object returns what a message in a field sets, or nil.
func object(m protoreflect.Message, name string) map[string]any {
	inner := field(m, name).Message()
	if !inner.IsValid() {
		return nil
	}
	all := map[string]any{}
	inner.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		all[string(f.Name())] = v.Interface()
		return true
	})
	return all
}

// marshal is json.Marshal that leaves < and > as they are.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return []byte(b.String()), err
}

// snake spells a Go name as Synapse does: UserMaySend3PidInvite is user_may_send_3pid_invite.
func snake(name string) string {
	var b strings.Builder
	var last rune
	for i, r := range name {
		word := unicode.IsUpper(r) && !unicode.IsDigit(last) || unicode.IsDigit(r) && unicode.IsLetter(last)
		if i > 0 && word {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	return b.String()
}
