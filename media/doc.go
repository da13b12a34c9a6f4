// Package media is the packet path of a call: RTP and RTCP over UDP, the session
// descriptions that set them up, the port range, the packet clock, DTMF, early
// media and the recording.
//
// An Engine owns a range of ports and a few packet clocks. A clock is a goroutine
// locked to an OS thread that sleeps to absolute deadlines in slots of 2 ms and does
// all work of its calls itself: it reads their sockets, calls their App, sends,
// and never waits for anything else. There is no goroutine and no ticker per call,
// and a packet allocates nothing. A clock without a call parks.
//
// A Session is one call's media. Open takes a pair of ports before the offer is made;
// Close gives them back from every state. Offer, Remote and Reoffer speak SDP; Start says
// that the call is answered, from which moment the App is called every 20 ms of
// media time. Methods of Engine and Session may be called by many goroutines at once; those
// of Session return within microseconds but for Close, which waits for the clock (2 ms)
// and for the recording's last write.
//
// An App runs on the clock's thread. One that takes long delays every call of that
// clock, so it must neither wait nor allocate; after Close has returned it is not called again.
// A clock that was held up for more than 60 ms skips the time it missed instead of sending a burst.
// The recording is written by the engine's own goroutine from a bounded buffer: a
// slow disk costs seconds of recording, counted, and never a packet.
//
// The far end is trusted with little: a source is locked after three packets in sequence,
// packets of others are counted and dropped, everything read is bounded.
//
// Testing: real sockets on loopback with another RTP implementation as the far end.
package media
