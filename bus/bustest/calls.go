package bustest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
)

// callTime is how long a method may take once its context has ended. Beyond: the suite says so.
const callTime = 30 * time.Second

// Calls holds a homeserver's implementation of the Module API to what it owes modules, method by method: an empty request, which names
// nobody, is answered, or refused with a [bus.MatrixError], since any other error tells a module nothing; nothing panics; and a call
// ends when its context does, since the module waits no longer. Methods that the homeserver does not have are refused, too. Calls are
// real: give it the homeserver of a test.
func Calls(t *testing.T, api bus.ModuleAPI) {
	t.Helper()
	for m := range reflect.TypeFor[bus.ModuleAPI]().Methods() {
		if !m.IsExported() {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			method := reflect.ValueOf(api).MethodByName(m.Name)
			if wrong := errors.Join(answered(t.Context(), method), ends(t.Context(), method)); wrong != nil {
				t.Error(wrong)
			}
		})
	}
}

// answered makes a call with an empty request, and says what is wrong with what comes of it.
func answered(ctx context.Context, method reflect.Value) error {
	reply, err := call(ctx, method)
	var told *bus.MatrixError
	switch {
	case errors.As(err, &told):
		return nil
	case err != nil:
		return fmt.Errorf("an empty request fails with an error that modules are told nothing of; return a *bus.MatrixError: %w", err)
	case reply == nil || !reply.ProtoReflect().IsValid():
		return errors.New("an empty request gets neither a reply nor an error")
	}
	return nil
}

// ends makes a call that is over, and wants it to return.
func ends(ctx context.Context, method reflect.Value) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = call(ctx, method) }() // What it says is nobody's any more.
	select {
	case <-done:
		return nil
	case <-time.After(callTime):
		return fmt.Errorf("it has not returned %v after its context has ended", callTime)
	}
}

// call calls a method with an empty request. A panic is an error.
func call(ctx context.Context, method reflect.Value) (reply proto.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panics: %v", p)
		}
	}()
	req := reflect.New(method.Type().In(1).Elem())
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), req})
	reply, _ = reflect.TypeAssert[proto.Message](out[0])
	err, _ = reflect.TypeAssert[error](out[1])
	return reply, err
}
