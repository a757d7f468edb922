package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/matrix-org/util"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/proto"
)

// objection is why something does not go on: modules refuse it, or failed where that may not be passed over.
type objection struct {
	status int
	body   []byte
}

// Error implements error.
func (o *objection) Error() string { return "modules object: " + string(o.body) }

// response is the objection as Dendrite's handlers return one.
func (o *objection) response() *util.JSONResponse {
	return &util.JSONResponse{Code: o.status, JSON: json.RawMessage(o.body)}
}

// matrix is the objection as the Module API has errors.
func (o *objection) matrix() *bus.MatrixError { return matrix.ParseError(o.status, o.body) }

// matrixError is a response of Dendrite's handlers as the Module API has errors.
func matrixError(r *util.JSONResponse) *bus.MatrixError {
	body, _ := json.Marshal(r.JSON) // It is what Dendrite answers with.
	return matrix.ParseError(r.Code, body)
}

// words are what a client reads where a module has none.
const words = "A module of this server does not allow it"

// refusable is an answer that may refuse.
type refusable interface {
	proto.Message
	GetRefusal() *callbacksv1.Refusal
}

// objected returns nil where nothing stands against going on. Otherwise the client whose request ctx belongs to is told.
func objected[R refusable](ctx context.Context, d bus.Decision[R], err error) *objection {
	if err != nil {
		return failed(ctx, err)
	}
	r := d.Answer.GetRefusal()
	if r == nil {
		return nil
	}
	status, body := bus.RefusalResponse(r, words)
	return object(ctx, status, body)
}

// failed is the objection of an ask without a decision. What it says is for the log: it names modules.
func failed(ctx context.Context, err error) *objection {
	logrus.WithError(err).Error("asking modules failed")
	e := matrix.Error{Text: "Internal server error"}
	return object(ctx, http.StatusInternalServerError, e.Body())
}

// object is an objection in the homeserver's own words.
func object(ctx context.Context, status int, body []byte) *objection {
	exchangeOf(ctx).tell(status, body)
	return &objection{status, body}
}
