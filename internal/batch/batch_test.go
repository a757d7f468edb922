package batch_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func questions() *rapid.Generator[[]batch.Question] {
	one := rapid.Custom(func(t *rapid.T) batch.Question {
		ms := rapid.Uint32().Draw(t, "ms left")
		return batch.Question{Timeout: time.Duration(ms) * time.Millisecond, Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
	})
	return rapid.SliceOfN(one, 0, batch.Most)
}

func sameQuestion(a, b batch.Question) bool {
	return a.Timeout == b.Timeout && bytes.Equal(a.Data, b.Data)
}

func frameOf(first uint64, all []batch.Question) []byte {
	frame := batch.Begin(nil, first)
	for _, q := range all {
		frame = batch.AppendQuestion(frame, q)
	}
	return frame
}

func TestQuestionsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first, all := rapid.Uint64().Draw(t, "first"), questions().Draw(t, "questions")
		gotFirst, got, err := batch.Questions(nil, frameOf(first, all))
		if err != nil || gotFirst != first || !slices.EqualFunc(got, all, sameQuestion) {
			t.Errorf("got %d %v, %v; want %d %v", gotFirst, got, err, first, all)
		}
	})
}

func TestQuestionsCannotBeTakenForOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		frame := frameOf(rapid.Uint64().Draw(t, "first"), questions().Draw(t, "questions"))
		if proto.Unmarshal(frame, &callbacksv1.UserMayCreateRoomRequest{}) == nil {
			t.Errorf("%x is also a question", frame)
		}
	})
}

func TestQuestionsPastTheMostAreRefused(t *testing.T) {
	t.Parallel()
	if _, _, err := batch.Questions(nil, frameOf(0, make([]batch.Question, batch.Most+1))); err == nil {
		t.Error("more questions than a message may have were read")
	}
}

func TestAnswersPastTheMostAreRefused(t *testing.T) {
	t.Parallel()
	filled := answersFrame(make([]batch.Answer, (64<<10)/len(answersFrame(make([]batch.Answer, 1)))+1))
	if _, err := batch.Answers(nil, filled); err != nil {
		t.Error("a message that a worker has filled:", err)
	}
	if _, err := batch.Answers(nil, append(filled, filled...)); err == nil {
		t.Error("more answers than fit a worker's message were read")
	}
}

func answers() *rapid.Generator[[]batch.Answer] {
	return rapid.SliceOf(rapid.Custom(func(t *rapid.T) batch.Answer {
		a := batch.Answer{Number: rapid.Uint64().Draw(t, "number"), Failed: rapid.Bool().Draw(t, "failed")}
		if a.Failed {
			a.Code, a.Text = rapid.StringN(1, -1, -1).Draw(t, "code"), rapid.String().Draw(t, "text")
		} else {
			a.Data = rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		}
		return a
	}))
}

func sameAnswer(a, b batch.Answer) bool {
	return a.Number == b.Number && a.Failed == b.Failed && a.Code == b.Code && a.Text == b.Text && bytes.Equal(a.Data, b.Data)
}

func answersFrame(all []batch.Answer) (frame []byte) {
	for _, a := range all {
		frame = batch.AppendAnswer(frame, a)
	}
	return frame
}

func TestAnswersAreReadAsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := answers().Draw(t, "answers")
		got, err := batch.Answers(nil, answersFrame(all))
		if err != nil || !slices.EqualFunc(got, all, sameAnswer) {
			t.Errorf("got %v, %v; want %v", got, err, all)
		}
	})
}

func TestFailureIsNeverReadAsSilence(t *testing.T) {
	t.Parallel()
	got, err := batch.Answers(nil, batch.AppendAnswer(nil, batch.Answer{Number: 7, Failed: true}))
	if err != nil || len(got) != 1 || !got[0].Failed || got[0].Code == "" {
		t.Errorf("a failure without a word was read as %v, %v", got, err)
	}
}

// What is cut, by whatever, must not be read as fewer answers that are right and one that says nothing.
func TestAnswersThatAreCutAreRefusedOrFewer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := answers().Draw(t, "answers")
		frame := answersFrame(all)
		got, err := batch.Answers(nil, frame[:rapid.IntRange(0, len(frame)).Draw(t, "cut at")])
		if err == nil && !slices.EqualFunc(got, all[:len(got)], sameAnswer) {
			t.Errorf("got %v of %v", got, all)
		}
	})
}

func FuzzQuestions(f *testing.F) {
	f.Add([]byte{})
	f.Add(frameOf(1, []batch.Question{{Timeout: time.Second, Data: []byte("a")}, {}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, all, err := batch.Questions(nil, data)
		if err != nil {
			return
		}
		again, same, err := batch.Questions(nil, frameOf(first, all))
		if err != nil || again != first || !slices.EqualFunc(all, same, sameQuestion) {
			t.Errorf("%x was read as %v, and that as %v, %v", data, all, same, err)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte{})
	f.Add(answersFrame([]batch.Answer{{Number: 1, Data: []byte("a")}, {Number: 2, Failed: true, Code: "busy", Text: "later"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := batch.Answers(nil, data)
		if err != nil {
			return
		}
		same, err := batch.Answers(nil, answersFrame(all))
		if err != nil || !slices.EqualFunc(all, same, sameAnswer) {
			t.Errorf("%x was read as %v, and that as %v, %v", data, all, same, err)
		}
	})
}
