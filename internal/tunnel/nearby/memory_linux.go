package nearby

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// rightsRoom is the room for one file that comes with an answer. More of them are closed by the kernel.
const rightsRoom = 24

// fixed are the seals of memory whose pages stay: it neither shrinks nor grows.
const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// kept are the seals of memory from which no page can be taken away any more.
var kept = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL

// newMemory makes memory with all its pages, so that neither side ever waits for one in vain.
func newMemory() (*memory, error) {
	if err := canKeep(); err != nil {
		return nil, err
	}
	file, err := create()
	if err != nil {
		return nil, err
	}
	m := &memory{file: file}
	if err := m.fill(); err != nil {
		m.unmap()
		return nil, err
	}
	return m, nil
}

func create() (file int, err error) {
	file, err = unix.MemfdCreate("modulebus", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Before Linux 6.3.
		file, err = unix.MemfdCreate("modulebus", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return file, err
}

// canKeep tries on other memory whether the kernel has these seals, as Linux has from 5.1 on. Where it has not, that would
// show at the first part only, which ends its stream.
func canKeep() error {
	file, err := create()
	if err != nil {
		return err
	}
	defer unix.Close(file)
	_, err = unix.FcntlInt(uintptr(file), unix.F_ADD_SEALS, kept)
	return err
}

func (m *memory) fill() (err error) {
	if err = allocate(m.file); err != nil {
		return err
	}
	if _, err = unix.FcntlInt(uintptr(m.file), unix.F_ADD_SEALS, fixed); err != nil {
		return err
	}
	m.bytes, err = unix.Mmap(m.file, 0, memorySize, unix.PROT_READ, unix.MAP_SHARED)
	return err
}

func allocate(file int) error {
	for {
		if err := unix.Fallocate(file, 0, 0, memorySize); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fix makes sure, before anything is read, that no page can be taken away: to read one that is not there, and cannot be
// made, would end the process. The worker has the memory mapped by then, and nobody else can any more.
func (m *memory) fix() error {
	if m.file < 0 {
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(m.file), unix.F_ADD_SEALS, kept); err != nil {
		return fmt.Errorf("nearby: seal: %w", err)
	}
	if err := allocate(m.file); err != nil {
		return fmt.Errorf("nearby: pages: %w", err)
	}
	m.closeFile()
	return nil
}

func (m *memory) closeFile() {
	if m.file >= 0 {
		_ = unix.Close(m.file) // Nothing was written through it.
		m.file = -1
	}
}

// unmap gives the memory back to the system.
func (m *memory) unmap() {
	m.closeFile()
	if m.bytes != nil {
		_ = unix.Munmap(m.bytes) // It fails only for what is not mapped.
		m.bytes = nil
	}
}

// give tells the worker that its stream accepts the line, and gives it the memory.
func (l *Line) give() error {
	_, _, err := l.conn.WriteMsgUnix([]byte{accepted}, unix.UnixRights(l.in.file), nil)
	return err
}

// given reads the gateway's answer, and maps the memory that comes with it, if any does.
func (l *Line) given() (answer byte, err error) {
	said, rights := [1]byte{}, [rightsRoom]byte{}
	n, m, _, _, err := l.conn.ReadMsgUnix(said[:], rights[:])
	l.out = sharedBy(rights[:max(m, 0)])
	if err == nil && n == 0 {
		err = io.EOF
	}
	return said[0], err
}

// sharedBy maps the memory that came with an answer. It returns nil if none came, or if it cannot be used.
func sharedBy(rights []byte) (shared *memory) {
	for _, file := range filesIn(rights) {
		m := &memory{file: file}
		if shared != nil || m.join() != nil {
			m.unmap()
			continue
		}
		m.closeFile()
		m.users.Store(1)
		shared = m
	}
	return shared
}

func filesIn(rights []byte) (files []int) {
	messages, _ := unix.ParseSocketControlMessage(rights) // What cannot be read is none.
	for i := range messages {
		some, _ := unix.ParseUnixRights(&messages[i])
		files = append(files, some...)
	}
	return files
}

// join maps the memory for writing, if it is as a gateway makes it.
func (m *memory) join() error {
	seals, err := unix.FcntlInt(uintptr(m.file), unix.F_GET_SEALS, 0)
	if err != nil {
		return err
	}
	var info unix.Stat_t
	if err := unix.Fstat(m.file, &info); err != nil {
		return err
	}
	if seals&fixed != fixed || info.Size < laidMax || info.Size > MaxFrame {
		return fmt.Errorf("nearby: %d bytes with seals %#x", info.Size, seals)
	}
	m.bytes, err = unix.Mmap(m.file, 0, int(info.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return err
}
