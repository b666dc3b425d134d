import CKernels

/// What happens when a mapped file is cut short, or its disk fails, while it is read: the system sends SIGBUS, which
/// nothing in a mapping can prevent. Unless a program asks for more here, as the command line does, that signal ends
/// it.
package enum MappingFaults {
    /// From now on a thread that touches a lost page of a `MappedFile` stops for ever, and `next` returns; a SIGBUS for
    /// any other reason ends the process as before. Once a process; false where the system refuses.
    package static func catchThem() -> Bool {
        tspeft_map_catch_faults() == 0
    }

    /// Waits until a thread has stopped; the error to end the process with. That must be soon: the thread may be one
    /// that others wait for.
    package static func next() -> CheckpointError {
        .inputLost(path: String(cString: tspeft_map_await_fault()))
    }
}
