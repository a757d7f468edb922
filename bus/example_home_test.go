package bus_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// A homeserver whose modules want to see room state hands over a function that fetches it: it is called only if a module
// needs some, with what is needed.
func ExampleWithState() {
	modules, stop := exampleHome()
	defer stop()
	ctx := bus.WithState(context.Background(), func(_ context.Context, filter *rosterv1.StateFilter) ([]*callbacksv1.StateEvent, error) {
		fmt.Println("fetch", filter.GetKeys()[0].GetType())
		return []*callbacksv1.StateEvent{{Type: "m.room.name", Event: &callbacksv1.Event{Json: []byte(`{"content":{"name":"Lobby"}}`)}}}, nil
	})
	decision, err := modules.ThirdPartyRules.CheckEventAllowed(ctx, &callbacksv1.CheckEventAllowedRequest{})
	fmt.Println(decision.Answer.GetRefusal().GetError(), err)
	// Output:
	// fetch m.room.name
	// {"content":{"name":"Lobby"}} is closed <nil>
}

// A file stays where it is: a module reads as much of it as it wants.
func ExampleWithFile() {
	modules, stop := exampleHome()
	defer stop()
	file := strings.NewReader("EICAR and much more")
	ctx := bus.WithFile(context.Background(), file, file.Size())
	decision, err := modules.SpamChecker.CheckMediaFileForSpam(ctx, &callbacksv1.CheckMediaFileForSpamRequest{})
	fmt.Println(decision.Answer.GetRefusal().GetError(), err)
	// Output:
	// EICAR is not allowed <nil>
}

// exampleAPI is what a homeserver does for modules. It embeds what answers the methods that it does not have.
type exampleAPI struct{ bus.UnimplementedModuleAPI }

// Properties implements [bus.ModuleAPI].
func (exampleAPI) Properties(context.Context, *moduleapiv1.PropertiesRequest) (*moduleapiv1.PropertiesResponse, error) {
	return &moduleapiv1.PropertiesResponse{ServerName: "example.com", WorkerName: new("main")}, nil
}

// Modules call the homeserver back, as far as the operator grants it.
func ExampleClient_ServeModuleAPI() {
	modules, stop := exampleHome()
	defer stop()
	stopServing, err := modules.ServeModuleAPI(exampleAPI{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stopServing()
	decision, err := modules.SpamChecker.UserMayInvite(context.Background(), &callbacksv1.UserMayInviteRequest{})
	fmt.Println(decision.Answer.GetRefusal().GetError(), err)
	// Output:
	// main says no <nil>
}

// Modules' pages are served by one handler, beside the homeserver's own.
func ExampleClient_Handler() {
	modules, stop := exampleHome()
	defer stop()
	mux := http.NewServeMux()
	mux.Handle("/_synapse/client/", modules.Handler())
	site := httptest.NewServer(mux)
	defer site.Close()
	response, err := site.Client().Get(site.URL + "/_synapse/client/hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(os.Stdout, response.Body)
	// Output:
	// hello
}

// What came of each ask can be kept: who was asked, what each said, and what counted.
func ExampleOptions_observe() {
	modules, stop := exampleHome(func(t *bus.Trace) {
		for _, m := range t.Modules {
			fmt.Println(t.Callback.Name, t.Outcome, m.Module, m.Said, m.Errcode, m.Counted)
		}
	})
	defer stop()
	_, _ = modules.SpamChecker.UserMayCreateRoom(context.Background(), &callbacksv1.UserMayCreateRoomRequest{})
	// Output:
	// user_may_create_room refused demo refusal M_FORBIDDEN true
}

// exampleModule is the module of the examples.
func exampleModule(_ struct{}, api *modulekit.ModuleAPI) error {
	api.NeedState(subjects.CheckEventAllowed, modulekit.StateFilter{Type: "m.room.name"})
	api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
		CheckEventAllowed: func(_ context.Context, r *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
			text := string(r.GetStateEvents()[0].GetEvent().GetJson()) + " is closed"
			return &callbacksv1.CheckEventAllowedResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", text)}, nil
		},
	})
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(context.Context, *question) (*verdict, error) { return denied("M_FORBIDDEN"), nil },
		CheckMediaFileForSpam: func(ctx context.Context, r *callbacksv1.CheckMediaFileForSpamRequest) (*callbacksv1.CheckMediaFileForSpamResponse, error) {
			start := make([]byte, len("EICAR"))
			_, err := io.ReadFull(api.OpenFile(ctx, r.GetFileWrapper()), start)
			return &callbacksv1.CheckMediaFileForSpamResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", string(start)+" is not allowed")}, err
		},
		UserMayInvite: func(ctx context.Context, _ *callbacksv1.UserMayInviteRequest) (*callbacksv1.UserMayInviteResponse, error) {
			p, err := api.Properties(ctx, &moduleapiv1.PropertiesRequest{})
			return &callbacksv1.UserMayInviteResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", p.GetWorkerName()+" says no")}, err
		},
	})
	api.RegisterWebResource("/_synapse/client/hello", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello\n")
	}))
	return nil
}

// exampleHome is a homeserver's client, on a NATS with what busd does there and one module.
func exampleHome(observe ...func(*bus.Trace)) (modules *bus.Client, stop func()) {
	s, err := server.NewServer(&server.Options{DontListen: true})
	must(err)
	s.Start()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	must(err)
	r := roster.New()
	r.Configure([]config.Module{entry("demo")}, time.Minute, time.Now())
	service, err := roster.Serve(nc, "example.com", r, zerolog.Nop())
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		m := modulekit.Module[struct{}]{New: exampleModule}
		must(modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: "example.com", Module: "demo"}))
	})
	o := bus.Options{ServerName: "example.com"}
	if len(observe) > 0 {
		o.Observe = observe[0]
	}
	modules, err = bus.New(ctx, nc, o)
	must(err)
	for r := modules.Roster(); len(r.GetModules()[0].GetWorkers()) == 0; {
		r, err = modules.AwaitRoster(ctx, r.GetRevision())
		must(err)
	}
	return modules, func() {
		modules.Close()
		cancel()
		running.Wait()
		service.Close()
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
	}
}
