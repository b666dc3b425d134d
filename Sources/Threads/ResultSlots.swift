/// Places that threads write results to, each its own.
package struct ResultSlots<Value> {
    private let slots: UnsafeMutableBufferPointer<Value>

    /// Runs `body` with `count` places that hold `value`, and gives what they hold afterwards.
    package static func collect(_ count: Int, _ value: Value, _ body: (ResultSlots) throws -> Void) rethrows -> [Value]
    {
        try [Value](unsafeUninitializedCapacity: count) { buffer, filled in
            buffer.initialize(repeating: value)
            filled = count
            try body(ResultSlots(slots: UnsafeMutableBufferPointer(rebasing: buffer[..<count])))
        }
    }

    /// Puts a result at a place; no two threads may do so at one place at a time.
    package func put(_ value: Value, at place: Int) { slots[place] = value }
}
