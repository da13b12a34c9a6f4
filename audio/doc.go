// Package audio is sound as numbers: frames of linear samples, G.711, resampling,
// levels, mixing, tones, DTMF by ear, voice activity, WAV files, and the subtitle
// modem of the simulated carrier.
//
// Everything is a pure function or a small value that belongs to one stream: no
// socket, no clock, no goroutine, no file. Functions may be called by many at
// once; a VAD, DTMFDetector or ModemDecoder by one goroutine at a time. What runs
// on the media thread (G.711, Mix, Level, VAD, DTMFDetector, ModemDecoder)
// allocates nothing and takes microseconds a frame; Resample and ReadWAV work on
// whole recordings and belong off the packet path.
//
// Samples are int16; 0 dBFS is the level of a square wave at full scale, so the
// loudest sine is at -3.01 dBFS.
//
// Testing: table tests and measured levels, no hardware; FuzzReadWAV.
package audio

const (
	// SampleRate is the rate of the house: everything on the packet path is 8 kHz.
	SampleRate = 8000
	// FrameSamples is the length of a frame.
	FrameSamples = 160
	// FrameMS is the length of a frame in milliseconds.
	FrameMS = 20
)
