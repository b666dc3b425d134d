import CheckpointIO
import TSPEFT

extension DryRun {
    /// The findings as JSON.
    var json: JSONValue {
        .object([
            "kind": .string("dry_run"), "output": .string(outputPath),
            "reads": .array(
                reads.map {
                    .object([
                        "path": .string($0.path), "bytes": .integer($0.byteCount), "whole": .bool($0.isWhole),
                    ])
                }),
            "writes": .array(
                writes.map {
                    .object([
                        "path": .string($0.path), "bytes": .integer($0.byteCount), "estimate": .bool($0.isEstimate),
                    ])
                }),
            "needs_bytes": .integer(neededBytes), "replaced_bytes": .integer(replacedBytes),
            "free_bytes": space.map { .integer($0.available) } ?? .null, "fits": .bool(fits),
            "memory": .array(
                memory.map { .object(["for": .string($0.purpose), "bytes": .integer($0.byteCount)]) }),
            "memory_bytes": .integer(memoryBytes),
            "free_memory_bytes": availableMemory.map { .integer($0) } ?? .null,
            "warnings": .array(warnings.map { .string(OptionWords.text($0)) }),
            "memory_leaves_out": memoryOmission.map { .string($0) } ?? .null,
        ])
    }

    /// The findings as lines of text.
    var lines: [String] {
        var table = TextTable([.left, .right, .left])
        for input in reads {
            table.add(["reads", grouped(input.byteCount) + " B", input.path + (input.isWhole ? "" : " (header)")])
        }
        for file in writes {
            table.add(["writes", grouped(file.byteCount) + " B", file.path + (file.isEstimate ? " (about)" : "")])
        }
        var facts = TextTable([.left, .left])
        facts.add(["disk needed", size(neededBytes)])
        if replacedBytes > 0 {
            facts.add(["replaced", size(replacedBytes) + ", which stay on the disk until the new files are there"])
        }
        facts.add(["disk free", space.map { size($0.available) } ?? "not told by the file system"])
        let memoryText = memory.map { "\(byteText($0.byteCount)) for \($0.purpose)" }.joined(separator: ", ")
        if !memory.isEmpty || memoryOmission != nil {
            facts.add([
                "memory",
                [memory.isEmpty ? nil : "about " + memoryText, memoryOmission].compactMap { $0 }
                    .joined(separator: "; "),
            ])
        }
        if !memory.isEmpty {
            facts.add(["memory needed", "about " + size(memoryBytes)])
            facts.add(["memory free", availableMemory.map(size) ?? "not told by the system"])
        }
        facts.add(["fits", fitText])
        return table.lines + [""] + facts.lines + ["nothing was written"]
    }

    private var fitText: String {
        switch (fitsDisk, fitsMemory) {
        case (true, true): "yes"
        case (false, true): "no: the disk is too full"
        case (true, false): "no: there is too little memory"
        case (false, false): "no: the disk is too full, and there is too little memory"
        }
    }

    private func size(_ bytes: Int) -> String { "\(byteText(bytes)) (\(grouped(bytes)) B)" }
}
