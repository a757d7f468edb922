package bus_test

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// createRoom is a homeserver's handler, as far as modules have a say in it.
func createRoom(ctx context.Context, modules *bus.Client, user string) error {
	decision, err := modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: user})
	if err != nil {
		return err // a module failed, and may not be passed over: the client gets a 5xx
	}
	if r := decision.Answer.GetRefusal(); r != nil {
		return fmt.Errorf("%s: %s", r.GetErrcode(), r.GetError()) // the client gets a 403
	}
	return nil // no module objects: create the room
}

// A homeserver holds one client, and asks with a method for each callback.
func Example() {
	nc, stop := exampleBus() // elsewhere: nats.Connect(url, nats.ReconnectBufSize(-1))
	defer stop()
	ctx := context.Background()
	modules, err := bus.New(ctx, nc, bus.Options{ServerName: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer modules.Close()
	fmt.Println(createRoom(ctx, modules, "@evilguy:example.com"))
	fmt.Println(createRoom(ctx, modules, "@alice:example.com"))
	// Output:
	// M_FORBIDDEN: You may not create rooms
	// <nil>
}

// What prepares a question that nobody is interested in can be left out.
func ExampleClient_Wants() {
	nc, stop := exampleBus()
	defer stop()
	ctx := context.Background()
	modules, err := bus.New(ctx, nc, bus.Options{ServerName: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer modules.Close()
	fmt.Println(modules.Wants(subjects.UserMayCreateRoom))
	fmt.Println(modules.Wants(subjects.CheckEventForSpam))
	// Output:
	// true
	// false
}

// exampleBus is NATS with what busd and the demo module would say there.
func exampleBus() (nc *nats.Conn, stop func()) {
	s, err := server.NewServer(&server.Options{DontListen: true})
	must(err)
	s.Start()
	nc, err = nats.Connect("", nats.InProcessServer(s))
	must(err)
	of, create := subjects.For("example.com"), subjects.UserMayCreateRoom
	respond(nc, of.Roster(), func([]byte) proto.Message {
		return busopts.Resolved(&rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{{
			Name: "demo", Callbacks: []*rosterv1.Interest{{Callback: create.FullName()}},
		}}})
	})
	respond(nc, of.Callback(create, "demo"), func(data []byte) proto.Message {
		reply, req := &callbacksv1.UserMayCreateRoomResponse{}, &callbacksv1.UserMayCreateRoomRequest{}
		must(proto.Unmarshal(data, req))
		if req.GetUserId() == "@evilguy:example.com" {
			reply.Refusal = &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "You may not create rooms"}
		}
		return reply
	})
	return nc, func() { nc.Close(); s.Shutdown(); s.WaitForShutdown() }
}

func respond(nc *nats.Conn, subject string, answer func([]byte) proto.Message) {
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		data, err := proto.Marshal(answer(m.Data))
		must(err)
		must(m.Respond(data))
	})
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
