package wire

import (
	"bytes"
	"encoding/json"
)

// Member returns the value of a member of a JSON object, as JSON; nil where there is no such member, or where data is something else. Of
// several of that name, the last counts, as in package encoding/json, to which is left what is not plain.
func Member(data []byte, of string) []byte {
	if found, plain := plainMember(data, of); plain {
		return found
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil {
		return nil
	}
	return all[of]
}

// plainMember is Member for an object that plainJSON reads, and has no escape in its names; plain tells that it is one.
func plainMember(b []byte, of string) (found []byte, plain bool) {
	if !at(b, 0, '{') {
		return nil, false
	}
	i := space(b, 0) + 1
	for more := !at(b, i, '}'); more; {
		from := space(b, i)
		begin := name(b, i)
		if begin == broken {
			return nil, false
		}
		called := b[from+1 : text(b, from)-1]
		begin = space(b, begin)
		if i = value(b, begin, plainDepth-1); i == broken || bytes.IndexByte(called, '\\') >= 0 {
			return nil, false
		}
		if string(called) == of {
			found = b[begin:i]
		}
		if more = at(b, i, ','); more {
			i = space(b, i) + 1
		}
	}
	return found, at(b, i, '}') && space(b, space(b, i)+1) == len(b)
}
