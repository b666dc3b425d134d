import CheckpointIO
import TensorCore

/// The log of a training run, `log.jsonl`, read from its end.
struct RunLog {
    /// Its path.
    let path: String

    /// The last event of each of `kinds` that there is. Throws `CheckpointError` for a log that cannot be read.
    func lastEvents(_ kinds: Set<String>) throws -> [String: JSONValue] {
        var found: [String: JSONValue] = [:]
        try visitFromEnd { event in
            if let kind = event["event"]?.stringValue, kinds.contains(kind), found[kind] == nil { found[kind] = event }
            return found.count < kinds.count
        }
        return found
    }

    /// The losses of the `count` steps that end with `step`, oldest first; of a step that was made twice, because a run
    /// went on from an older checkpoint, the later one.
    func losses(endingAt step: Int, count: Int) throws -> [Double] {
        var losses: [Double] = []
        var wanted = step
        try visitFromEnd { event in
            if event["event"]?.stringValue == "step", event["step"]?.integer(in: .steps) == wanted,
                let loss = event["loss"]?.doubleValue
            {
                losses.append(loss)
                wanted -= 1
            }
            return losses.count < count && wanted > 0
        }
        return losses.reversed()
    }

    /// Hands events to `body`, the last first, until it returns false. Lines that are no JSON, such as one that a
    /// killed program left half written, are passed over.
    private func visitFromEnd(_ body: (JSONValue) -> Bool) throws {
        try MappedFile.open(path).withBytes { bytes in
            var end = bytes.count
            while end > 0 {
                let start = (bytes[..<end].lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1
                if let event = try? JSONValue.parse(Array(bytes[start..<end])), !body(event) { return }
                end = start - 1
            }
        }
    }
}
