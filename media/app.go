package media

import "time"

// App is who speaks and listens in a call.
type App interface {
	// Frame is called on the media thread for every 20 ms of media time from the
	// answer on. It fills f.Out and returns true, or returns false for silence. It must
	// neither wait nor allocate. The frame and its samples are valid only during the call.
	Frame(f *Frame) bool
}

// Frame is 20 ms of a call.
type Frame struct {
	// In is what the far end sent: 160 samples at 8 kHz, zeros where nothing came.
	In []int16
	// Out is where to put what the far end shall hear.
	Out []int16
	// Lost says that a packet of In did not come in time.
	Lost bool
	// Held says that the far end holds the call and hears nothing.
	Held bool
	// Digit is the key that the far end pressed (0-9 * # A-D), 0 when none. The same
	// press that comes by two ways is told once.
	Digit byte
	// Time is the media time since the answer at the beginning of the frame. It advances
	// by 20 ms, or by more after the machine was held up.
	Time time.Duration
}

// Stats are the figures of a session as of its end.
type Stats struct {
	Codec     string // pcma or pcmu
	Sent      uint64 // RTP packets
	Received  uint64 // accepted RTP packets
	Lost      uint64 // by sequence numbers
	Late      uint64 // too late to be heard; they are still in the recording
	Duplicate uint64
	Foreign   uint64 // from a source that is not the locked one
	Unknown   uint64 // unusable: not RTP, or a payload type that was not agreed on
	Resyncs   uint64 // changes of SSRC and jumps of the timestamp
	Underruns uint64 // frames that had to be given to the App without all of their sound
	Skipped   uint64 // frames never sent because the machine was held up
	SendFails uint64 // packets that the kernel refused

	Jitter     time.Duration // RFC 3550 section 6.4.1, at the end
	MaxGap     time.Duration // longest time between two packets after the answer
	RTT        time.Duration // by RTCP; 0 when unknown
	FirstRTP   time.Duration // from the answer to the first packet; 0 when there was early media or never any
	RemoteLost float64       // fraction that the far end last reported lost
	RFactor    float64       // ITU-T G.107 estimate from loss and delay, 0 to 93

	DTMF string // digits received

	Recorded         time.Duration // length of the recording
	RecordingDropped time.Duration // not recorded because the disk was too slow
	RecordingErr     error         // why the recording is missing or cut short
}
