package media

import (
	"context"
	"net"
	"os"
	"time"

	"waihu/audio"
)

// tickerCall is the control of the measurement: the same call as most Go programs would carry it, with a
// ticker that paces, a goroutine that reads and a file written by sixteen kilobytes.
func (l *benchLoad) tickerCall(ctx context.Context) error {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(l.far))
	if err != nil {
		return err
	}
	file, err := os.Create(l.file())
	if err != nil {
		conn.Close()
		return err
	}
	heard := make(chan Stats, 1)
	go func() { heard <- tickerListen(conn, file) }()
	st := l.tickerSpeak(ctx, conn)
	conn.Close()
	back := <-heard
	st.Received, st.Lost = back.Received, back.Lost
	l.add(st)
	return file.Close()
}

func (l *benchLoad) tickerSpeak(ctx context.Context, conn *net.UDPConn) (st Stats) {
	tick := time.NewTicker(frameLength)
	defer tick.Stop()
	b := make([]byte, rtpHeader+frameSamples)
	h := header{pt: 0, ssrc: uint32(time.Now().UnixNano())}
	for at := 0; at+frameSamples <= len(l.prompt); at += frameSamples {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st
		}
		h.put(b)
		audio.EncodeULaw(b[rtpHeader:], l.prompt[at:at+frameSamples])
		if _, err := conn.Write(b); err == nil {
			st.Sent++
		}
		h.seq++
		h.ts += frameSamples
	}
	return st
}

func tickerListen(conn *net.UDPConn, file *os.File) (st Stats) {
	b := make([]byte, rtpMTU)
	pcm := make([]int16, frameSamples)
	buf := audio.AppendWAVHeader(make([]byte, 0, 17<<10), audio.WAVULaw, 2, audio.SampleRate, 0)
	var last uint16
	for {
		n, err := conn.Read(b)
		if err != nil {
			break
		}
		h, payload, ok := parseRTP(b[:n])
		if !ok {
			continue
		}
		if st.Received++; st.Received > 1 && h.seq > last+1 {
			st.Lost += uint64(h.seq - last - 1)
		}
		last = h.seq
		audio.DecodeULaw(pcm, payload)
		for _, c := range payload {
			buf = append(buf, c, audio.SilenceULaw)
		}
		if len(buf) >= 16<<10 {
			if _, err := file.Write(buf); err != nil {
				break
			}
			buf = buf[:0]
		}
	}
	if _, err := file.Write(buf); err != nil {
		st.Received = 0
	}
	return st
}
