package foreign_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func init() { grpclog.SetLoggerV2(interopLog{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)}) } //nolint:gochecknoinits // before any call

// interopLog has the cases of package interop fail by a panic, where they would end the process.
type interopLog struct{ grpclog.LoggerV2 }

func (interopLog) Fatalln(args ...any) { panic(fmt.Sprint(args...)) }

// TestGRPC runs the interoperability cases of gRPC itself. It needs HTTP/2, trailers, and both directions at once.
func TestGRPC(t *testing.T) {
	t.Parallel()
	suite[map[string]string]{path: "/grpc.testing.TestService", handler: interopServer, client: interopCases}.run(t)
}

func interopServer(t *testing.T) http.Handler {
	s := grpc.NewServer()
	t.Cleanup(s.Stop)
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	return s
}

func interopCases(t *testing.T, base string) map[string]string {
	to := must(url.Parse(base))(t).Host
	conn := must(grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := testgrpc.NewTestServiceClient(conn)
	came := map[string]string{}
	for name, do := range map[string]func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
		"empty_unary": interop.DoEmptyUnaryCall, "large_unary": interop.DoLargeUnaryCall,
		"client_streaming": interop.DoClientStreaming, "server_streaming": interop.DoServerStreaming,
		"ping_pong": interop.DoPingPong, "empty_stream": interop.DoEmptyStream,
		"timeout_on_sleeping_server": interop.DoTimeoutOnSleepingServer, "cancel_after_begin": interop.DoCancelAfterBegin,
		"cancel_after_first_response": interop.DoCancelAfterFirstResponse, "custom_metadata": interop.DoCustomMetadata,
		"status_code_and_message": interop.DoStatusCodeAndMessage, "special_status_message": interop.DoSpecialStatusMessage,
	} {
		came[name] = outcome(func() { do(ctx, c) })
	}
	came["unimplemented_method"] = outcome(func() { interop.DoUnimplementedMethod(ctx, conn) })
	came["unimplemented_service"] = outcome(func() {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	})
	for name, said := range came {
		if said != "ok" {
			t.Errorf("%s: %s", name, said)
		}
	}
	return came
}

func outcome(do func()) (said string) {
	defer func() {
		if v := recover(); v != nil {
			said = fmt.Sprint(v)
		}
	}()
	do()
	return "ok"
}

// TestConnect speaks the three protocols of connect-go, over both versions of HTTP: one to one, streams each way, and,
// over HTTP/2, both ways at once. Trailers, errors and compression pass, as gRPC-Web's in the body do.
func TestConnect(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(*testing.T) *http.Client{"HTTP/1.1": httpClient, "HTTP/2": h2Client} {
		for protocol, options := range map[string][]connect.ClientOption{
			"connect": nil, "JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
		} {
			if name == "HTTP/1.1" && protocol == "gRPC" {
				continue // HTTP/1.1 is not for gRPC.
			}
			t.Run(protocol+" over "+name, func(t *testing.T) {
				t.Parallel()
				suite[[]string]{handler: below(procedures()), client: func(t *testing.T, base string) []string {
					return callAll(t, caller{client(t), base, append(options, connect.WithSendGzip()), name == "HTTP/2"})
				}}.run(t)
			})
		}
	}
}

type text = wrapperspb.StringValue

func procedures() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/unary", connect.NewUnaryHandler("/unary", sayBack))
	mux.Handle("/up", connect.NewClientStreamHandler("/up", sayJoined))
	mux.Handle("/down", connect.NewServerStreamHandler("/down", sayParts))
	mux.Handle("/both", connect.NewBidiStreamHandler("/both", sayEach))
	return mux
}

const refused = "refused"

func refusal(s string) error {
	if s != refused {
		return nil
	}
	e := connect.NewError(connect.CodePermissionDenied, errors.New("not you, é"))
	e.Meta().Set("Reason", "many")
	return e
}

func sayBack(_ context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
	rsp := connect.NewResponse(&text{Value: r.Msg.GetValue()})
	rsp.Header().Set("Heard", r.Header().Get("Say"))
	rsp.Trailer().Set("Last", "words")
	return rsp, refusal(r.Msg.GetValue())
}

func sayJoined(_ context.Context, s *connect.ClientStream[text]) (*connect.Response[text], error) {
	var b strings.Builder
	for s.Receive() {
		b.WriteString(s.Msg().GetValue())
	}
	return connect.NewResponse(&text{Value: b.String()}), s.Err()
}

func sayParts(_ context.Context, r *connect.Request[text], s *connect.ServerStream[text]) error {
	s.ResponseTrailer().Set("Last", "words")
	for part := range strings.SplitSeq(r.Msg.GetValue(), ",") {
		if err := refusal(part); err != nil {
			return err
		}
		if err := s.Send(&text{Value: part}); err != nil {
			return err
		}
	}
	return nil
}

func sayEach(_ context.Context, s *connect.BidiStream[text, text]) error {
	for {
		m, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := errors.Join(err, refusal(m.GetValue())); err != nil {
			return err
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

// caller calls procedures one way.
type caller struct {
	http    *http.Client
	base    string
	options []connect.ClientOption
	both    bool // directions at once
}

func (c caller) to(procedure string) *connect.Client[text, text] {
	return connect.NewClient[text, text](c.http, c.base+procedure, c.options...)
}

func callAll(t *testing.T, c caller) (said []string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	said = append(callUnary(ctx, c), callUp(ctx, c)...)
	said = append(said, callDown(ctx, c)...)
	if c.both {
		said = append(said, callBoth(ctx, c)...)
	}
	return said
}

var long = strings.Repeat("much to say; ", 20_000)

func callUnary(ctx context.Context, c caller) (said []string) {
	for _, s := range []string{"", "hello", long, refused} {
		r := connect.NewRequest(&text{Value: s})
		r.Header().Set("Say", "x")
		rsp, err := c.to("/unary").CallUnary(ctx, r)
		if err != nil {
			said = append(said, failed(err))
			continue
		}
		said = append(said, fmt.Sprint(rsp.Msg.GetValue() == s, rsp.Header()["Heard"], rsp.Trailer()["Last"]))
	}
	_, err := c.to("/nowhere").CallUnary(ctx, connect.NewRequest(&text{}))
	return append(said, failed(err))
}

// failed is what an error says, with what came beside it.
func failed(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) {
		return fmt.Sprint("no error of connect: ", err)
	}
	return fmt.Sprint(e.Code(), e.Message(), e.Meta()["Reason"], connect.IsWireError(err))
}

func callUp(ctx context.Context, c caller) []string {
	s := c.to("/up").CallClientStream(ctx)
	for range 10 {
		if err := s.Send(&text{Value: long[:100_000]}); err != nil {
			return []string{err.Error()}
		}
	}
	rsp, err := s.CloseAndReceive()
	if err != nil {
		return []string{failed(err)}
	}
	return []string{strconv.FormatBool(rsp.Msg.GetValue() == strings.Repeat(long[:100_000], 10))}
}

func callDown(ctx context.Context, c caller) (said []string) {
	for _, s := range []string{"a,b,c", strings.Join([]string{long, long, "end"}, ","), "a," + refused} {
		stream, err := c.to("/down").CallServerStream(ctx, connect.NewRequest(&text{Value: s}))
		if err != nil {
			said = append(said, failed(err))
			continue
		}
		for stream.Receive() {
			said = append(said, strconv.Itoa(len(stream.Msg().GetValue())))
		}
		said = append(said, failed(stream.Err()), fmt.Sprint(stream.ResponseTrailer()["Last"], stream.Close()))
	}
	return said
}

func callBoth(ctx context.Context, c caller) (said []string) {
	s := c.to("/both").CallBidiStream(ctx)
	for _, m := range []string{"ping", "pong", long} {
		said = append(said, fmt.Sprint(s.Send(&text{Value: m})))
		got, err := s.Receive() // Each is answered before the next is said.
		said = append(said, fmt.Sprint(got.GetValue() == m, err))
	}
	said = append(said, fmt.Sprint(s.Send(&text{Value: refused}), s.CloseRequest()))
	_, err := s.Receive()
	return append(said, failed(err), fmt.Sprint(s.CloseResponse()))
}

// TestConnectRefusesInTheMiddle has a call end, by the server, while its client still has more to say.
func TestConnectRefusesInTheMiddle(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: below(procedures()), client: func(t *testing.T, base string) []string {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		s := caller{h2Client(t), base, []connect.ClientOption{connect.WithGRPC()}, true}.to("/both").CallBidiStream(ctx)
		said := s.Send(&text{Value: refused})
		_, err := s.Receive()
		return []string{fmt.Sprint(said), failed(err), fmt.Sprint(s.CloseRequest(), s.CloseResponse())}
	}, except: map[string]string{
		proxied: "it closes the response before it ends its own, and that waits for the end of the request, which never comes",
	}}.run(t)
}
