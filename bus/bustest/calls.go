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

// Calls tests each method of a homeserver's implementation of the Module API. An empty request, which names no user or
// room, must be answered, or refused with a [bus.MatrixError], because any other error tells a module nothing; the
// method must not panic; and a call must end when its context does, because the module no longer waits. Methods that
// the homeserver does not implement must be refused, too. The calls are real: pass a homeserver that is made for tests.
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

// answered makes a call with an empty request, and returns what is wrong with the result.
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

// ends makes a call whose context has ended, and returns an error if the call does not end.
func ends(ctx context.Context, method reflect.Value) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = call(ctx, method) }() // The result does not matter.
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
