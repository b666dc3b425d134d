import CheckpointIO
import TSPEFT

extension InspectionText {
    /// Characters of a metadata value that a line shows at most.
    private static let valueLimit = 72

    static func layout(_ files: CheckpointFiles) -> String {
        let size = byteText(files.sizes.reduce(0, +))
        let count = files.checkpoint.files.count
        switch files.checkpoint.layout {
        case .gguf:
            guard case .gguf(let version, let alignment) = files.headers.first else { return "GGUF, \(size)" }
            let parts = count > 1 ? " in \(count) files" : ""
            return "GGUF version \(version)\(parts), \(size), aligned to \(alignment) bytes"
        case .huggingFace:
            let headers = files.headers.compactMap { if case .safetensors(let bytes) = $0 { bytes } else { nil } }
            let kind = files.headers.contains(nil) ? "packed safetensors" : "safetensors"
            return "\(count) \(kind) file\(count == 1 ? "" : "s"), \(size)"
                + (headers.isEmpty ? "" : ", of which headers \(byteText(headers.reduce(0, +)))")
        }
    }

    /// Totals by type, files where there are several, and metadata.
    static func fileLines(_ files: CheckpointFiles) -> [String] {
        [""] + encodings(files) + (files.checkpoint.files.count > 1 ? [""] + table(files) : [])
            + metadataLines(files.metadata)
    }

    private static func encodings(_ files: CheckpointFiles) -> [String] {
        var table = TextTable([.left, .right, .right, .right])
        table.add(["type", "tensors", "elements", "size"])
        table.addRule()
        let totals = files.totals
        for total in totals {
            table.add([
                total.encoding, grouped(total.tensors), grouped(total.elements), byteText(total.bytes),
            ])
        }
        if totals.count > 1 {
            table.addRule()
            table.add([
                "together", grouped(files.checkpoint.tensors.count), grouped(files.elementCount),
                byteText(totals.reduce(0) { $0 + $1.bytes }),
            ])
        }
        return table.lines
    }

    private static func table(_ files: CheckpointFiles) -> [String] {
        var table = TextTable([.left, .right, .right])
        table.add(["file", "tensors", "size"])
        table.addRule()
        for (index, file) in files.checkpoint.files.enumerated() {
            let count = files.checkpoint.tensors.count { $0.fileIndex == index }
            table.add([lastPathComponent(file), grouped(count), byteText(files.sizes[index])])
        }
        return table.lines
    }

    /// What files say of themselves; nothing where that is no more than that they are PyTorch's.
    static func metadataLines(_ metadata: [MetadataEntry]) -> [String] {
        let usual = SafetensorsWriter.pyTorchMetadata
        let entries = metadata.filter { entry in
            !usual.contains { $0.key == entry.key && $0.value == entry.value.stringValue }
        }
        guard !entries.isEmpty else { return [] }
        var table = TextTable([.left, .left, .left])
        table.add(["metadata", "type", "value"])
        table.addRule()
        for entry in entries { table.add([visible(entry.key), entry.type, text(of: entry)]) }
        return [""] + table.lines
    }

    private static func text(of entry: MetadataEntry) -> String {
        if let text = entry.value.stringValue { return visible(text) }
        let text = entry.value.text()
        guard entry.omittedCount > 0 else { return visible(text) }
        return visible(String(text.dropLast())) + ", ...]"
    }

    /// A text on one line, its beginning if it is long: control characters as JSON writes them.
    private static func visible(_ text: String) -> String {
        // The rest is not looked at, since a text may fill a file; a character may have several scalars.
        let head = String(text.unicodeScalars.prefix(4 * valueLimit))
        let isWhole = head.utf8.count == text.utf8.count
        let hasControls = head.unicodeScalars.contains { $0.value < 0x20 }
        let shown = hasControls ? String(JSONValue.string(head).text().dropFirst().dropLast()) : head
        return isWhole && shown.count <= valueLimit ? shown : shown.prefix(valueLimit - 3) + "..."
    }

    static func lines(_ found: AdapterFileInspection) -> [String] {
        let files = found.files
        var facts = Facts()
        facts.add("path", files.checkpoint.path)
        facts.add("layout", "an adapter in one file: " + layout(files))
        if let name = files.checkpoint.metadata?["general.name"]?.stringValue { facts.add("name", name) }
        facts.add("method", found.facts.method)
        if let architecture = found.facts.architecture { facts.add("architecture", architecture) }
        facts.add("modules", modules(found.facts.modules.map(\.name)))
        let ranks = Set(found.facts.modules.map(\.rank)).sorted().map(String.init)
        if !ranks.isEmpty { facts.add("rank", ranks.joined(separator: ", ")) }
        if let alpha = found.facts.alpha { facts.add("alpha", number(alpha)) }
        if !found.facts.otherTensors.isEmpty {
            facts.add("other tensors", "\(found.facts.otherTensors.count): \(list(found.facts.otherTensors))")
        }
        facts.add("numbers", grouped(files.elementCount))
        facts.add("base", found.facts.base ?? "not named")
        return facts.lines + fileLines(files) + (found.tensors?.lines ?? [])
    }
}
