package antispam_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/antispam"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// recorded is what synapse-http-antispam 0.5.1 does in Synapse 1.163.2. A test in integration/synapse records it again.
type recorded struct {
	Requests []struct {
		Name, Callback, Body string
		Ask                  json.RawMessage
	}
	Replies []struct {
		Callback, Body string
		Status         int
		Result         json.RawMessage
	}
}

func recording(t *testing.T) (r recorded) {
	t.Helper()
	data, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// asked is the request as modulebus has it.
func asked(t *testing.T, callback string, ask json.RawMessage) proto.Message {
	t.Helper()
	d, ok := antispam.Find(callback)
	if !ok {
		t.Fatalf("the protocol has no %s", callback)
	}
	req := d.NewRequest()
	if err := wire.FromJSON(ask, req, true); err != nil {
		t.Fatal(err)
	}
	return req
}

func TestRequestIsThatOfThePackageByteForByte(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	for _, r := range recording(t).Requests {
		covered[r.Callback] = true
		body, err := antispam.Encode(asked(t, r.Callback, r.Ask))
		if err != nil || string(body) != r.Body {
			t.Errorf("%s: sends\n%s, %v\nand the package\n%s", r.Name, body, err, r.Body)
		}
	}
	// The package cannot send the one that is missing: Synapse gives it an object that has no JSON.
	for _, d := range antispam.Callbacks() {
		if !covered[d.Name] && d != subjects.UserMayCreateRoomAlias.Declaration {
			t.Errorf("no recorded request asks %s", d.Name)
		}
	}
}

// TestRequestComesBack reads what the package sends, and sends it again.
func TestRequestComesBack(t *testing.T) {
	t.Parallel()
	for _, r := range recording(t).Requests {
		d, _ := antispam.Find(r.Callback)
		req, err := antispam.Decode(d, []byte(r.Body))
		if err != nil {
			t.Errorf("%s: %v", r.Name, err)
			continue
		}
		if again, err := antispam.Encode(req); err != nil || string(again) != r.Body {
			t.Errorf("%s: became\n%s, %v\nand was\n%s", r.Name, again, err, r.Body)
		}
	}
}

// verdict is what Synapse does with what the package returns: the error code that a client sees, and whether something
// broke instead. "" lets go on.
func verdict(t *testing.T, result json.RawMessage) (errcode, text string, broken bool) {
	t.Helper()
	var pair []json.RawMessage
	if json.Unmarshal(result, &pair) != nil {
		return "", "", strings.Contains(string(result), "raises")
	}
	var fields map[string]any
	if err := errors.Join(json.Unmarshal(pair[0], &errcode), json.Unmarshal(pair[1], &fields)); err != nil {
		t.Fatal(err)
	}
	if own, ok := fields["errcode"].(string); ok {
		errcode = own // It takes the place of the other in the client's error.
	}
	text, _ = fields["error"].(string)
	return errcode, text, strings.Contains(text, "antispam server")
}

// brokenServer are replies that the package takes for a refusal, and that say that the server is broken.
var brokenServer = []string{
	`500 {"error":"it broke"}`,
	`404 {"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`,
	`401 {"errcode":"M_UNKNOWN_TOKEN","error":"who?"}`,
}

func TestReplyIsTheVerdictThatThePackageMakesOfIt(t *testing.T) {
	t.Parallel()
	for _, r := range recording(t).Replies {
		if r.Callback != "user_may_invite" {
			continue // Of the other, failures are let go on; busd has on_failure for that.
		}
		name := fmt.Sprint(r.Status, " ", r.Body)
		errcode, text, broken := verdict(t, r.Result)
		broken = broken || slices.Contains(brokenServer, name)
		refusal, err := antispam.Verdict(r.Status, []byte(r.Body))
		switch {
		case broken != (err != nil):
			t.Errorf("%s: failure %v, and in the package %s", name, err, r.Result)
		case broken:
		case (refusal != nil) != (errcode != ""):
			t.Errorf("%s: refusal %v, and in the package %s", name, refusal, r.Result)
		case refusal.GetErrcode() != errcode || refusal.GetError() != text:
			t.Errorf("%s: refusal %v, and in the package %s", name, refusal, r.Result)
		}
	}
}

// TestReplyOfAServerThatCannotReadIsNoRefusal has what Meowlnir 0.8.0 and Draupnir 3.1.0 answered when they were sent what they do
// not expect.
func TestReplyOfAServerThatCannotReadIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"errcode":"M_NOT_JSON","error":"Antispam request error: invalid JSON"}`,
		`{"errcode":"M_INVALID_PARAM","error":"Error handling event"}`,
		`{"errcode":"M_BAD_JSON","error":"field event: is missing"}`,
	} {
		if refusal, err := antispam.Verdict(400, []byte(body)); refusal != nil || err == nil || !strings.Contains(err.Error(), "cannot read") {
			t.Errorf("%s: read %v, %v", body, refusal, err)
		}
		if refusal, err := antispam.Verdict(403, []byte(body)); refusal == nil || err != nil {
			t.Errorf("%s with 403: read %v, %v", body, refusal, err)
		}
	}
}

// TestReplyOfWhatIsInBetweenIsNoRefusal has what proxies and routers answer in JSON.
func TestReplyOfWhatIsInBetweenIsNoRefusal(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		402: `{}`, 404: `{"detail":"Not Found"}`, 405: `{"detail":"Method Not Allowed"}`, 407: `{}`, 408: `{}`, 413: `{"error":"Request Entity Too Large"}`,
		422: `{"detail":[{"loc":["body","user"],"msg":"field required"}]}`, 429: `{"message":"API rate limit exceeded"}`, 302: `{}`, 500: `{"errcode":7}`,
	} {
		if refusal, err := antispam.Verdict(status, []byte(body)); refusal != nil || err == nil {
			t.Errorf("%d %s: read %v, %v", status, body, refusal, err)
		}
	}
	for status, body := range map[int]string{400: `{"error":"no"}`, 403: `{"errcode":7}`, 429: `{"errcode":"M_LIMIT_EXCEEDED"}`, 404: `{"errcode":"M_NOT_FOUND"}`, 405: `{"errcode":"X"}`} {
		if refusal, err := antispam.Verdict(status, []byte(body)); refusal == nil || err != nil {
			t.Errorf("%d %s: read %v, %v", status, body, refusal, err)
		}
	}
}

func TestRefusalNeverHasKeysThatSynapseFailsOn(t *testing.T) {
	t.Parallel()
	out := antispam.Refused(&callbacksv1.Refusal{
		Errcode: "M_LIMIT_EXCEEDED", Error: "slow <down>", AdditionalFields: []byte(`{"msg":1,"code":2,"errcode":"X","error":"y","retry_after_ms":5.0}`),
	})
	if want := `{"errcode":"M_LIMIT_EXCEEDED","error":"slow <down>","retry_after_ms":5.0}`; string(out) != want {
		t.Errorf("wrote %s, want %s", out, want)
	}
	in, err := antispam.Verdict(403, []byte(`{"errcode":"X","error":"y","msg":1,"code":2,"n":1e2}`))
	if want := (&callbacksv1.Refusal{Errcode: "X", Error: "y", AdditionalFields: []byte(`{"n":1e2}`)}); err != nil || !proto.Equal(in, want) {
		t.Errorf("read %v, %v", in, err)
	}
}

func TestRefusalWithoutWordsLeavesThemToTheHomeserver(t *testing.T) {
	t.Parallel()
	if out := antispam.Refused(&callbacksv1.Refusal{}); string(out) != `{"errcode":"M_FORBIDDEN"}` {
		t.Errorf("wrote %s", out)
	}
}

func TestRefusalComesBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &callbacksv1.Refusal{Errcode: rapid.StringMatching(`M_[A-Z]{1,9}X`).Draw(t, "errcode"), Error: rapid.String().Draw(t, "error")}
		if n := rapid.IntRange(0, 9).Draw(t, "n"); n > 0 {
			r.AdditionalFields = fmt.Appendf(nil, `{"n":%d}`, n)
		}
		if back, err := antispam.Verdict(403, antispam.Refused(r)); err != nil || !proto.Equal(back, r) {
			t.Fatalf("%v became %v, %v", r, back, err)
		}
	})
}

func TestBadRequestNamesTheField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ callback, body, want string }{
		{"user_may_invite", ``, "not a JSON object"},
		{"user_may_invite", `null`, "not a JSON object"},
		{"user_may_invite", `[]`, "not a JSON object"},
		{"user_may_invite", `{"invitee":"@b:s"}x`, "not a JSON object"},
		{"user_may_invite", `{"invitee":"@b:s","room_id":"!r:s"}`, "field inviter: is missing"},
		{"user_may_invite", `{"inviter":1,"invitee":"@b:s","room_id":"!r:s"}`, "field inviter: must be a string"},
		{"user_may_invite", `{"inviter":null,"invitee":"@b:s","room_id":"!r:s"}`, "field inviter: must be a string"},
		{"user_may_join_room", `{"user":"@b:s","room":"!r:s","is_invited":"yes"}`, "field is_invited: must be true or false"},
		{"check_username_for_spam", `{"requester_id":"@r:s","user_profile":[]}`, "field user_profile: must be an object"},
		{"check_username_for_spam", `{"requester_id":"@r:s","user_profile":{}}`, "field user_profile.user_id: is missing"},
		{"check_login_for_spam", `{"user_id":"@u:s","request_info":{}}`, "field request_info: must be a list"},
		{"check_login_for_spam", `{"user_id":"@u:s","request_info":[["UA"]]}`, "field request_info[0]: must be a list of 2"},
		{"check_login_for_spam", `{"user_id":"@u:s","request_info":[["UA",null]]}`, "field request_info[0][1]: must be a string"},
		{"check_event_for_spam", `{}`, "field event: is missing"},
		{"check_event_for_spam", `{"event":null}`, "field event: must be an object"},
		{"check_event_for_spam", `{"event":{"sender":"@a:s","type":"m"}}`, "field event.event_id: is missing"},
		{"check_event_for_spam", `{"event":{"event_id":"$e","type":"m"}}`, "field event.sender: is missing"},
		{"check_event_for_spam", `{"event":{"event_id":"$e","sender":"@a:s","type":"m","room_id":5}}`, "field event.room_id: must be a string"},
	} {
		d, _ := antispam.Find(tt.callback)
		if _, err := antispam.Decode(d, []byte(tt.body)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v, want %s", tt.callback, tt.body, err, tt.want)
		}
	}
}

func TestRequestOfALaterVersionIsRead(t *testing.T) {
	t.Parallel()
	req, err := antispam.Decode(subjects.UserMayJoinRoom.Declaration, []byte(`{"user":"@u:s","room":"!r:s","via":["x"]}`))
	if want := (&callbacksv1.UserMayJoinRoomRequest{User: "@u:s", Room: "!r:s"}); err != nil || !proto.Equal(req, want) {
		t.Errorf("read %v, %v", req, err)
	}
}

// TestFieldsOfTheProtocolAreOfKindsThatItCanWrite holds the declarations against what the codec knows.
func TestFieldsOfTheProtocolAreOfKindsThatItCanWrite(t *testing.T) {
	t.Parallel()
	var check func(md protoreflect.MessageDescriptor)
	check = func(md protoreflect.MessageDescriptor) {
		if proto.GetExtension(md.Options(), callbacksv1.E_Antispam).(callbacksv1.Antispam) == callbacksv1.Antispam_CLIENT_EVENT {
			return
		}
		for i := range md.Fields().Len() {
			f := md.Fields().Get(i)
			switch left := proto.GetExtension(f.Options(), callbacksv1.E_NotInAntispam).(bool); {
			case left:
			case f.Message() != nil && !f.IsMap():
				check(f.Message())
			case f.IsList() || f.IsMap() || f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BoolKind:
				t.Errorf("%s is of a kind that the codec does not know", f.FullName())
			}
		}
	}
	for _, d := range antispam.Callbacks() {
		check(d.NewRequest().ProtoReflect().Descriptor())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("user_may_join_room", []byte(`{"is_invited":true,"room":"!r:s","user":"@u:s"}`))
	f.Add("check_login_for_spam", []byte(`{"user_id":"@u:s","request_info":[["UA","1.2.3.4"],[null,"::1"]]}`))
	f.Add("check_event_for_spam", []byte(`{"event":{"event_id":"$e","sender":"@a:s","type":"m","content":{"\ud800":[1e9,-0,"\u0000"]}}}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		d, ok := antispam.Find(name)
		if !ok {
			return // There is no such callback, and so nothing to decode.
		}
		req, err := antispam.Decode(d, body)
		if err != nil {
			return
		}
		out, err := antispam.Encode(req)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%s: what was read cannot be sent: %s, %v (%s)", body, out, err, protojson.Format(req))
		}
		again, err := antispam.Decode(d, out)
		if err != nil {
			t.Fatalf("%s: what is sent cannot be read: %v", out, err)
		}
		if out2, _ := antispam.Encode(again); !bytes.Equal(out, out2) {
			t.Fatalf("%s is sent as %s, and then as %s", body, out, out2)
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add(200, []byte(`{}`))
	f.Add(500, []byte(`{"errcode":"M_LIMIT_EXCEEDED","error":{},"msg":1}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		refusal, err := antispam.Verdict(status, body)
		if refusal != nil && (err != nil || refusal.GetErrcode() == "" || status/100 == 2) {
			t.Fatalf("%d %s: %v, %v", status, body, refusal, err)
		}
		if refusal != nil && !json.Valid(antispam.Refused(refusal)) {
			t.Fatalf("%d %s: cannot be passed on", status, body)
		}
	})
}
