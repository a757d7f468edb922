package supervise

import (
	"bytes"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// sink logs the lines of one stream.
type sink struct {
	log   zerolog.Logger
	name  string        // of the stream
	level zerolog.Level // of lines that have none
	words *words        // hears them too, if not nil
}

// take logs a line. An empty one says nothing.
func (s sink) take(line []byte, cut bool) {
	line = bytes.TrimRight(valid(line), " \t\r")
	if len(line) == 0 {
		return
	}
	if e, ok := parseEntry(line); ok {
		s.words.hearEntry(e)
		e.log(s.log)
		return
	}
	s.words.hearLine(string(line))
	s.plain(line, cut)
}

func (s sink) plain(line []byte, cut bool) {
	ev := s.log.WithLevel(s.level).Str("stream", s.name)
	if cut {
		ev.Bool("cut", true)
	}
	ev.Msg(string(line))
}

func valid(line []byte) []byte {
	if utf8.Valid(line) {
		return line
	}
	return bytes.ToValidUTF8(line, []byte("\uFFFD"))
}
