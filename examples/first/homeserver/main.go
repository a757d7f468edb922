// Command homeserver is as much of a homeserver as asking a first module takes: it has no rooms, and says who may create one.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func main() { log.Fatal(serve()) }

func serve() error {
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.UserCredentials("homeserver.creds"),
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if err != nil {
		return err
	}
	defer nc.Close()
	modules, err := bus.New(context.Background(), nc, bus.Options{ServerName: "example.com"})
	if err != nil {
		return err
	}
	defer modules.Close()
	mux := http.NewServeMux()
	mux.Handle("POST /_matrix/client/v3/createRoom", homeserver{modules})
	mux.Handle("/_synapse/client/", modules.Handler()) // The modules' pages.
	server := &http.Server{Addr: "127.0.0.1:8008", Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

type homeserver struct{ modules *bus.Client }

// ServeHTTP answers a request to create a room.
func (h homeserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	config, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		reply(w, http.StatusBadRequest, (&matrix.Error{Errcode: matrix.NotJSON, Text: "cannot read the body"}).Body())
		return
	}
	user := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") // Yours knows whose token it is.
	decision, err := h.modules.SpamChecker.UserMayCreateRoom(r.Context(), &callbacksv1.UserMayCreateRoomRequest{
		UserId: user, RoomConfig: config,
	})
	if err != nil { // A module failed that may not be passed over. The error is for your log.
		log.Print(err)
		reply(w, http.StatusInternalServerError, (&matrix.Error{Text: "Internal server error"}).Body())
	} else if refusal := decision.Answer.GetRefusal(); refusal != nil {
		status, body := bus.RefusalResponse(refusal, "You may not create rooms here")
		reply(w, status, body)
	} else {
		reply(w, http.StatusOK, []byte(`{"room_id":"!first:example.com"}`)) // Yours creates it.
	}
}

func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
