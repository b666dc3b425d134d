import CheckpointIO
import Transforms

/// What a conversion writes, in words and as JSON.
package enum ConversionText {
    /// Files that are listed one by one at most.
    private static let listedFileLimit = 12

    /// The files with their sizes, the types of the tensors, and what a user should know.
    package static func summary(_ plan: CheckpointConversion) -> [String] {
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
        if plan.files.count <= listedFileLimit {
            for file in plan.files { lines.append("\(file.path): \(byteText(file.byteCount))") }
        } else {
            lines.append("\(plan.files.count) files, \(byteText(plan.byteCount)) together")
        }
        return lines + plan.notes.map { "note: " + $0 }
    }

    /// The same as JSON: sizes in bytes.
    package static func json(_ plan: CheckpointConversion) -> JSONValue {
        .object([
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
        ])
    }
}
