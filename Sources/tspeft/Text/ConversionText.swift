import CheckpointIO
import Transforms
import TSPEFT

/// What a conversion wrote, in words and as JSON.
enum ConversionText {
    /// Files that are listed one by one at most.
    private static let listedFileLimit = 12

    /// The files with their sizes, the types of the tensors, and what a user should know.
    static func summary(_ report: ConversionReport) -> [String] {
        switch report {
        case .checkpoint(let plan, let packedByteCount): summary(plan, packedByteCount: packedByteCount)
        case .packed(let pack), .unpacked(let pack): summary(pack)
        }
    }

    private static func summary(_ pack: PackReport) -> [String] {
        var lines = pack.packed
        lines.append("\(byteText(pack.contentBytes)), \(byteText(pack.packBytes)) packed")
        if !pack.leftOut.isEmpty { lines.append("note: left out: \(pack.leftOut.joined(separator: ", "))") }
        return lines
    }

    static func summary(_ plan: CheckpointConversion, packedByteCount: Int? = nil) -> [String] {
        var table = TextTable([.left, .right, .right])
        table.add(["type", "tensors", "size"])
        for total in plan.encodings {
            table.add([total.encoding.description, grouped(total.tensorCount), byteText(total.byteCount)])
        }
        let changed = plan.changedCount
        var lines = table.lines
        lines.append(
            "\(grouped(plan.tensorCount)) tensors, "
                + (changed == 0
                    ? "all in the type that they had" : "\(grouped(changed)) of them in another type than before"))
        if let packedByteCount {
            lines.append("\(plan.outputPath): \(byteText(packedByteCount)), \(byteText(plan.byteCount)) unpacked")
        } else if plan.files.count <= listedFileLimit {
            for file in plan.files { lines.append("\(file.path): \(byteText(file.byteCount))") }
        } else {
            lines.append("\(plan.files.count) files, \(byteText(plan.byteCount)) together")
        }
        return lines + plan.notes.map { "note: " + $0 }
    }

    /// Where the result lies: `output`, or of a split file its first part.
    static func place(of report: ConversionReport, _ output: String) -> String {
        guard case .checkpoint(let plan, _) = report, plan.format == .gguf, plan.files.count > 1 else { return output }
        return "\(plan.files[0].path) and \(plan.files.count - 1) more"
    }

    /// The same as JSON: sizes in bytes.
    static func json(_ report: ConversionReport, output: String) -> JSONValue {
        switch report {
        case .checkpoint(let plan, let packedByteCount):
            var members = json(plan)
            members["packed_bytes"] = packedByteCount.map { .integer($0) }
            return .object(members)
        case .packed(let pack), .unpacked(let pack):
            return .object([
                "output": .string(output),
                "files": .array(pack.packed.map { .string($0) }),
                "left_out": .array(pack.leftOut.map { .string($0) }),
                "bytes": .integer(pack.contentBytes),
                "packed_bytes": .integer(pack.packBytes),
            ])
        }
    }

    static func json(_ plan: CheckpointConversion) -> JSONObject {
        [
            "input": .string(plan.checkpoint.path),
            "output": .string(plan.outputPath),
            "format": .string(plan.format.rawValue),
            "tensors": .integer(plan.tensorCount),
            "changed_tensors": .integer(plan.changedCount),
            "bytes": .integer(plan.byteCount),
            "types": .array(
                plan.encodings.map {
                    .object([
                        "type": .string($0.encoding.description), "tensors": .integer($0.tensorCount),
                        "bytes": .integer($0.byteCount),
                    ])
                }),
            "files": .array(
                plan.files.map {
                    .object([
                        "path": .string($0.path), "tensors": .integer($0.tensorCount), "bytes": .integer($0.byteCount),
                    ])
                }),
            "side_files": .array(plan.sideFiles.map { .string($0.name) }),
            "notes": .array(plan.notes.map { .string($0) }),
        ]
    }
}
