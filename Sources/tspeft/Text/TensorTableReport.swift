import CheckpointIO
import TensorCore
import Transforms
import TSPEFT

extension TensorTable {
    /// Adds `tensor_table`, and `checksum` where there is one.
    func add(to object: inout JSONObject) {
        object["tensor_table"] = .array(tensors.map { json($0) })
        if let checksum { object["checksum"] = .string(checksum) }
    }

    private func json(_ tensor: InspectedTensor) -> JSONValue {
        var entry: JSONObject = [
            "name": .string(tensor.record.name), "type": .string(tensor.record.encoding.description),
            "shape": .array(tensor.record.shape.map { .integer($0) }), "file": .string(tensor.file),
            "offset": .integer(tensor.record.offset), "bytes": .integer(tensor.record.byteCount),
        ]
        if request.statistics { entry["statistics"] = tensor.statistics.map { .object($0.json) } ?? .null }
        if let digest = tensor.digest { entry["sha256"] = .string(digest) }
        return .object(entry)
    }

    /// The tables: places where only tensors were asked for, figures, digests.
    var lines: [String] {
        var lines: [String] = []
        if request.statistics { lines += [""] + figures }
        if request.checksums { lines += [""] + digests }
        return lines.isEmpty ? [""] + places : lines
    }

    private var hasSeveralFiles: Bool { NameSet(tensors.map(\.file)).count > 1 }

    private var places: [String] {
        var table = TextTable([.left, .left, .left, .right, .right, .left])
        let hasSeveralFiles = hasSeveralFiles
        table.add(["tensor", "type", "shape", "size", "offset", hasSeveralFiles ? "file" : ""])
        table.addRule()
        for tensor in tensors {
            table.add([
                tensor.record.name, tensor.record.encoding.description, "\(tensor.record.shape)",
                byteText(tensor.record.byteCount), grouped(tensor.record.offset), hasSeveralFiles ? tensor.file : "",
            ])
        }
        return table.lines
    }

    private var figures: [String] {
        var table = TextTable([.left, .left, .left, .right, .right, .right, .right, .right, .right])
        table.add(["tensor", "type", "shape", "min", "max", "mean", "std", "NaN", "Inf"])
        table.addRule()
        for tensor in tensors {
            let start = [tensor.record.name, tensor.record.encoding.description, "\(tensor.record.shape)"]
            guard let figures = tensor.statistics else {
                table.add(start + ["not read"])
                continue
            }
            let numbers = [figures.minimum, figures.maximum, figures.mean, figures.standardDeviation]
            table.add(
                start + numbers.map { $0.map { significant($0) } ?? "-" }
                    + [grouped(figures.nanCount), grouped(figures.infiniteCount)])
        }
        return table.lines + notes
    }

    /// What a reader should not have to look for in the table.
    private var notes: [String] {
        let strange = tensors.filter { ($0.statistics?.nanCount ?? 0) + ($0.statistics?.infiniteCount ?? 0) > 0 }
        let unread = Set(tensors.filter { $0.statistics == nil }.map(\.record.encoding.description)).sorted()
        var notes: [String] = []
        if !strange.isEmpty {
            notes.append(
                "NaN or Inf in \(strange.count) of \(tensors.count) tensors, left out of the other figures")
        }
        if !unread.isEmpty { notes.append("not read: tspeft has no numbers of type \(unread.joined(separator: ", "))") }
        return notes.isEmpty ? [] : [""] + notes
    }

    private var digests: [String] {
        let count =
            tensors.count == checkpointCount ? "all \(checkpointCount)" : "\(tensors.count) of \(checkpointCount)"
        return tensors.map { "\($0.digest ?? "")  \($0.record.name)" }
            + ["", "checksum of \(count) tensors  \(checksum ?? "")"]
    }
}

extension ValueStatistics {
    /// The figures; those of the finite numbers are null where there are none, or where a double cannot hold them.
    var json: JSONObject {
        func number(_ value: Double?) -> JSONValue { value.map { .real($0) } ?? .null }
        return [
            "finite": .integer(finiteCount), "nan": .integer(nanCount), "inf": .integer(infiniteCount),
            "min": number(minimum), "max": number(maximum), "mean": number(mean), "std": number(standardDeviation),
        ]
    }
}
