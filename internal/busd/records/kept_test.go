package records_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// kept is a recorder whose records go to a stream, too.
type kept struct {
	*records.Recorder
	*records.Journal
	t       *testing.T
	metrics *prometheus.Registry
	log     waittest.Log
}

var all = config.Decisions{Stream: true, Keep: time.Hour, MaxBytes: 64 << 20, NoOpinion: 1}

func keep(t *testing.T, nc *nats.Conn, c config.Decisions) *kept {
	t.Helper()
	k := &kept{Recorder: records.New(), t: t, metrics: prometheus.NewRegistry()}
	var err error
	k.Journal, err = records.NewJournal(k.Recorder, records.JournalOptions{
		Conn: nc, ServerName: "example.com", Metrics: k.metrics, Log: zerolog.New(&k.log),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	k.Configure(c)
	return k
}

// jetStream is a connection to NATS with JetStream.
func jetStream(t *testing.T) *nats.Conn {
	t.Helper()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	return natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
}

// stream is that of the records; nil where there is none.
func stream(t *testing.T, nc *nats.Conn) *jetstream.StreamInfo {
	t.Helper()
	s, err := streams(t, nc).Stream(t.Context(), subjects.For("example.com").DecisionStream())
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

// recorded is how many records are in the stream; 0 where there is none.
func recorded(t *testing.T, nc *nats.Conn) (n int) {
	t.Helper()
	info := stream(t, nc)
	if info == nil {
		return 0
	}
	s, err := streams(t, nc).Stream(t.Context(), info.Config.Name)
	if err != nil {
		t.Fatal(err)
	}
	for at := info.State.FirstSeq; at <= info.State.LastSeq && at > 0; at++ {
		m, err := s.GetMsg(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		n += max(1, len(strings.Fields(m.Header.Get("Modulebus-Decisions"))))
	}
	return n
}

func streams(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (k *kept) measured(name string) float64 {
	k.t.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	k.t.Fatalf("there is no %s", name)
	return 0
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// silent has all modules say nothing.
func silent(tr *bus.Trace) {
	tr.Outcome = bus.OutcomeNoOpinion
	for i := range tr.Modules {
		tr.Modules[i].Said = bus.SaidSilence
	}
}

// history reads all that there is, to the end.
func (k *kept) history(f decision.Filter) (ids []string) {
	k.t.Helper()
	reader, err := k.History(k.t.Context(), f)
	if err != nil {
		k.t.Fatal(err)
	}
	defer reader.Close()
	for {
		found, _, end, err := reader.Read()
		if err != nil {
			k.t.Fatal(err)
		}
		for _, r := range found {
			ids = append(ids, r.ID)
		}
		if end {
			return ids
		}
	}
}
