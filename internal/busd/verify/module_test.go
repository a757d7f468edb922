package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
)

// module is one that is written without a kit, and speaks JSON. It breaks the rule of that name, and no other if that is possible.
type module struct {
	breaks  string
	nc      *nats.Conn
	at      subjects.Server
	name    string
	worker  string
	stop    chan os.Signal
	wake    chan struct{}
	answers sync.WaitGroup
	tasks   chan struct{}
	one     sync.Mutex
	subs    []*nats.Subscription
	entry   map[string]json.RawMessage
	joined  bool
	wrong   bool // the configuration that it was told last
}

var callbacks = []string{
	subjects.UserMayCreateRoom.FullName(), subjects.OnProfileUpdate.FullName(), subjects.CheckMediaFileForSpam.FullName(),
	subjects.AuthCheckers.FullName(), subjects.OnAuthCheckersLogin.FullName(),
}

const jsonType = "application/json"

// runModule is what the test's own program does as a module.
func runModule(breaks string) {
	m := &module{
		breaks: breaks, at: subjects.For(os.Getenv("MODULEBUS_SERVER_NAME")), name: os.Getenv("MODULEBUS_MODULE"), worker: os.Getenv("MODULEBUS_WORKER"),
		stop: make(chan os.Signal, 1), wake: make(chan struct{}, 1), tasks: make(chan struct{}, 64),
	}
	if breaks == "unique" {
		m.worker = "the-one"
	}
	if breaks == "ends" {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("process", os.Getpid())
	} else {
		signal.Notify(m.stop, syscall.SIGTERM)
	}
	options := []nats.Option{
		nats.UserCredentials(os.Getenv("MODULEBUS_CREDENTIALS")), nats.CustomInboxPrefix(m.at.Inbox(m.name, m.worker)), nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if breaks == "reconnects" {
		options = append(options, nats.NoReconnect())
	}
	var err error
	if m.nc, err = nats.Connect(os.Getenv("MODULEBUS_NATS_URL"), options...); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	m.live()
}

func (m *module) live() {
	if m.breaks == "permissions" {
		_, _ = m.nc.Subscribe("modulebus.example%2Ecom.cb.>", func(*nats.Msg) {})
	}
	for {
		pause := m.round()
		select {
		case <-m.stop:
			m.drain()
			return
		case <-m.wake:
		case <-time.After(pause):
		}
	}
}

// round asks for the entry, takes it over, and joins. It returns when to do so again.
func (m *module) round() time.Duration {
	entry, err := m.busd(m.at.Entry(m.name), map[string]any{})
	listed := err == nil && string(entry["listed"]) == "true"
	switch {
	case errors.Is(err, nats.ErrTimeout) && m.breaks == "busd-away":
		os.Exit(5)
	case m.breaks == "starts":
		os.Exit(3)
	case m.breaks == "joins" && listed, m.breaks == "renews" && m.joined:
		return time.Hour
	case !listed:
		return 300 * time.Millisecond
	}
	if m.breaks != "changed" || m.entry == nil {
		m.entry = entry
	}
	m.judge()
	m.register()
	if m.breaks == "quiet" {
		return time.Millisecond
	}
	return 400 * time.Millisecond
}

// judge refuses a configuration with anything in it. A module that runs goes on with the old one, and says so when it joins.
func (m *module) judge() {
	m.wrong = string(m.entry["config"]) != "{}" && m.breaks != "refuses-change"
	if string(m.entry["config"]) == "{}" || len(m.subs) > 0 {
		return
	}
	if m.breaks == "refuses-config" {
		os.Exit(1)
	}
	_, _ = m.busd(m.at.Join(m.name), map[string]any{
		"worker": m.worker, "config_revision": m.entry["config_revision"], "json": true,
		"config_error": map[string]string{"path": "key", "error": "is not known"},
	})
	os.Exit(78)
}

func (m *module) register() {
	if m.breaks != "listens-first" {
		m.listen()
	}
	revision := m.entry["config_revision"]
	if m.breaks == "revision" {
		revision = json.RawMessage(`"7"`)
	}
	keyed := subjects.AuthCheckers.FullName()
	if m.breaks == "needs" {
		keyed = subjects.UserMayCreateRoom.FullName()
	}
	join := map[string]any{
		"worker": m.worker, "callbacks": callbacks, "json": true, "config_revision": revision, "version": "1", "pulls": true,
		"needs": map[string]any{keyed: map[string]any{"keys": []any{map[string]any{"value": "m.login.password", "fields": []string{"password"}}}}},
	}
	if m.wrong {
		join["config_error"] = map[string]string{"path": "key", "error": "is not known"}
	}
	_, err := m.busd(m.at.Join(m.name), join)
	m.joined = err == nil
	m.listen()
}

func (m *module) listen() {
	if len(m.subs) > 0 {
		return
	}
	for _, name := range callbacks {
		d, _ := subjects.Find(name)
		m.subscribe(m.at.Callback(d, m.name), subjects.Group(m.name))
	}
	if m.breaks != "answers-by-name" {
		m.subscribe(m.at.WorkerAny(m.name, m.worker), "")
	}
	sub, err := m.nc.Subscribe(m.at.Changed(m.name), func(*nats.Msg) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	})
	m.must(sub, err)
	sub, err = m.nc.Subscribe(m.at.Cancel(m.name), func(*nats.Msg) {
		if m.breaks == "cancel" {
			go func() { m.tasks <- struct{}{} }() // It takes a place for good.
		}
	})
	m.must(sub, err)
	_ = m.nc.Flush()
}

func (m *module) subscribe(subject, group string) {
	sub, err := m.nc.QueueSubscribe(subject, group, m.asked)
	m.must(sub, err)
}

func (m *module) must(sub *nats.Subscription, err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	m.subs = append(m.subs, sub)
}

// asked has a task answer, of which there are no more than so many.
func (m *module) asked(q *nats.Msg) {
	if q.Header.Get("Nats-Stream") != "" && m.breaks != "forged" {
		return
	}
	select {
	case m.tasks <- struct{}{}:
	default:
		if m.breaks != "busy" {
			m.fail(q, "busy", "too many questions")
		}
		return
	}
	m.answers.Go(func() { m.answer(q); <-m.tasks })
}

func (m *module) answer(q *nats.Msg) {
	if m.breaks != "large-question" && !m.pull(q) {
		m.fail(q, "error", "cannot read the question")
		return
	}
	switch m.breaks {
	case "several-at-once":
		m.one.Lock()
		defer m.one.Unlock()
		<-time.After(100 * time.Millisecond)
	case "busy":
		<-time.After(100 * time.Millisecond)
	case "drains":
		<-time.After(30 * time.Millisecond)
	case "news":
		if q.Header.Get("Modulebus-News") != "" {
			m.fail(q, "error", "news with a name")
			return
		}
	}
	if !m.asksBack(q) {
		m.fail(q, "error", "the homeserver does not say")
		return
	}
	m.decide(q)
}

// pull reads a question that is elsewhere.
func (m *module) pull(q *nats.Msg) bool {
	subject := q.Header.Get("Modulebus-Question")
	if subject == "" {
		return true
	}
	data, ok := m.file(subject)
	q.Data = data
	return ok
}

// file reads a file to its end.
func (m *module) file(subject string) (content []byte, ok bool) {
	for {
		body := fmt.Appendf(nil, `{"offset": "%d", "length": 65536}`, len(content))
		reply, err := m.nc.RequestMsg(&nats.Msg{Subject: subject, Header: nats.Header{"Content-Type": {jsonType}}, Data: body}, time.Second)
		switch {
		case err != nil, reply.Header.Get("Nats-Service-Error-Code") != "" && m.breaks == "file":
			return content, false
		case reply.Header.Get("Nats-Service-Error-Code") == "busy":
			<-time.After(10 * time.Millisecond)
		case len(reply.Data) == 0:
			return content, true
		}
		content = append(content, reply.Data...)
	}
}

// asksBack asks the homeserver who the user is, and reports whether it has heard of it in time.
func (m *module) asksBack(q *nats.Msg) bool {
	if !strings.Contains(q.Subject, callbacks[0]) {
		return true
	}
	patience := time.Second
	if left, err := time.ParseDuration(q.Header.Get("Modulebus-Timeout") + "ms"); err == nil && m.breaks != "deadline" {
		patience = left
	}
	if m.breaks == "deadline" {
		patience = time.Minute
	}
	method := "get_userinfo_by_id"
	if m.breaks == "asks-back" {
		method = "get_user"
	}
	subject := strings.TrimSuffix(m.at.API(subjects.APIGetUserinfoById.Method, m.name), "get_userinfo_by_id") + method
	reply, err := m.nc.RequestMsg(&nats.Msg{
		Subject: subject, Header: nats.Header{"Content-Type": {jsonType}}, Data: []byte(`{"user_id": "@verify:example.com"}`),
	}, patience)
	if err == nil && reply.Header.Get("Nats-Service-Error-Code") == "403" && m.breaks == "asks-back-refused" {
		<-time.After(time.Minute)
	}
	return err == nil
}

// special answers callbacks that do more, and reports whether it is one of those.
func (m *module) special(q *nats.Msg, subject string) bool {
	switch {
	case strings.Contains(q.Subject, subjects.CheckMediaFileForSpam.FullName()) && subject != "":
		if _, ok := m.file(subject); ok {
			m.reply(q, "{}")
		} else {
			m.fail(q, "error", "cannot read the file")
		}
		return true
	case strings.Contains(q.Subject, subjects.AuthCheckers.FullName()):
		worker := m.worker
		if m.breaks == "follow-up" {
			worker = "somebody"
		}
		m.reply(q, `{"user_id": "@verify:example.com", "tell_login": true, "token": "t", "worker": "`+worker+`"}`)
		return true
	}
	return false
}

func (m *module) decide(q *nats.Msg) {
	known := false
	for _, name := range callbacks {
		known = known || strings.Contains(q.Subject, name)
	}
	var request struct {
		UserID      string          `json:"user_id"`
		RoomConfig  json.RawMessage `json:"room_config"`
		NewProfile  json.RawMessage `json:"new_profile"`
		ByAdmin     bool            `json:"by_admin"`
		Deactiv     bool            `json:"deactivation"`
		FileWrapper struct {
			Subject string `json:"subject"`
		} `json:"file_wrapper"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(q.Data)))
	if m.breaks == "future-fields" {
		decoder.DisallowUnknownFields()
	}
	err := decoder.Decode(&request)
	switch {
	case !known && m.breaks == "future-callbacks":
		m.reply(q, `{"refusal": {"errcode": "M_FORBIDDEN"}}`)
	case !known || m.breaks == "malformed":
		m.reply(q, "{}")
	case err != nil && len(q.Data) > 0 && m.breaks == "stays":
		os.Exit(7)
	case err != nil && m.breaks == "discreet":
		m.fail(q, "malformed", "cannot read "+strings.ToValidUTF8(string(q.Data), "?"))
	case err != nil:
		m.fail(q, "malformed", "cannot read it")
	case m.breaks == "answers":
		m.reply(q, `{"allowed": true}`)
	case m.special(q, request.FileWrapper.Subject):
	default:
		m.reply(q, "{}")
	}
}

func (m *module) reply(q *nats.Msg, text string) {
	_ = q.RespondMsg(&nats.Msg{Header: nats.Header{"Content-Type": {jsonType}}, Data: []byte(text)})
}

func (m *module) fail(q *nats.Msg, kind, text string) {
	_ = q.RespondMsg(&nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {kind}, "Nats-Service-Error": {text}}})
}

func (m *module) busd(subject string, body map[string]any) (reply map[string]json.RawMessage, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	answer, err := m.nc.RequestMsg(&nats.Msg{Subject: subject, Header: nats.Header{"Content-Type": {jsonType}}, Data: data}, 300*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return reply, json.Unmarshal(answer.Data, &reply)
}

func (m *module) drain() {
	if m.breaks == "drains" {
		_, _ = m.busd(m.at.Leave(m.name), map[string]any{"worker": m.worker})
		m.nc.Close()
		return
	}
	for _, sub := range m.subs {
		_ = sub.Drain()
	}
	_ = m.nc.Flush()
	for _, sub := range m.subs {
		for sub.IsValid() {
			<-time.After(time.Millisecond)
		}
	}
	if m.breaks != "leaves" {
		_, _ = m.busd(m.at.Leave(m.name), map[string]any{"worker": m.worker})
	}
	m.answers.Wait()
	_ = m.nc.Flush()
	m.nc.Close()
}

// runPages is a module with the kit, whose page breaks the rule.
func runPages(breaks string) {
	page := func(w http.ResponseWriter, r *http.Request) {
		if breaks == "page" || breaks == "page-large" && r.ContentLength > 1<<10 || breaks == "page-streamed" && r.ContentLength < 0 || breaks == "page-websocket" && r.Header.Get("Upgrade") != "" {
			panic(http.ErrAbortHandler)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil && breaks == "page-cut" {
			os.Exit(1)
		}
		fmt.Fprintln(w, "hello")
	}
	modulekit.Main(modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/verified", http.HandlerFunc(page))
		return nil
	}})
}
