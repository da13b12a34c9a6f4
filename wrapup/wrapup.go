// Package wrapup is what is done after a call: quality checks, scores, tags and summaries, and the store of recordings.
//
// Its work is jobs of the ledger (room queue): at least once, in any order, by whichever process finds them; so handlers are
// idempotent and a process that dies loses nothing. It starts nothing by itself but what Run methods say.
//
// Recordings: a call writes its sound into a folder of this machine; once the call has ended the job recording.keep notes size and
// checksum and, when a bucket is configured, moves the file there: it is removed here only after the copy was read back or
// confirmed by its checksum. Open finds it wherever it lies. Nothing here ever logs a phone number or a transcript.
//
// To test code that uses recordings, open them on t.TempDir(): no bucket and no ledger is needed for that.
package wrapup
