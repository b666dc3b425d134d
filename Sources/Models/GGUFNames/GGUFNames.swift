import CheckpointIO
import TensorCore

/// The tensors of a GGUF file by Hugging Face's names and row order, for architectures without a graph.
///
/// A tensor is named only where the table knows its name and the file's metadata give the order of its rows; a wrong
/// order would not show in any shape. All others have no counterpart: they keep their GGUF names and are not to be
/// merged into.
package struct GGUFNames {
    /// Whether the architecture has an output head over the vocabulary, which is the embedding in a file without one.
    package let hasLanguageHead: Bool
    /// A model type whose experts have the names and the orientation that those of this file have: packed experts in GGUF
    /// files are [experts, outputSize, inputSize], which the shapes of square ones do not tell. Nil without experts.
    package let expertsModelType: String?
    /// A tensor whose first rows the file leaves out, and how many they are: the positions that an encoder counts from
    /// behind its padding token.
    package let droppedRows: (name: String, count: Int)?
    private let sizes: GGUFSizes
    private let layerPrefix: String
    private let byGGUF: (outer: NameTable<Entry>, layers: NameTable<Entry>)
    private let byName: (outer: NameTable<Entry>, layers: NameTable<Entry>)

    /// A tensor of a row.
    private struct Entry {
        let name: String
        let gguf: String
        let columns: GGUFRowRule
        let row: GGUFNameRow
    }

    /// The architectures that are known, by `general.architecture`.
    package static var architectures: [String] { GGUFNamings.names }

    /// The names of a GGUF file's tensors; nil for any other checkpoint and for an architecture that is not in the table.
    package init?(of checkpoint: Checkpoint) {
        guard let metadata = checkpoint.metadata, let architecture = metadata["general.architecture"]?.stringValue,
            let naming = GGUFNamings.naming(architecture, has: { checkpoint.record($0) != nil })
        else { return nil }
        sizes = GGUFSizes(metadata, prefix: architecture + ".")
        layerPrefix = naming.layerPrefix
        hasLanguageHead = naming.hasLanguageHead
        expertsModelType = naming.expertsModelType
        let hasAllPositions = metadata["tokenizer.ggml.model"]?.stringValue == "bert"
        let padding = metadata["tokenizer.ggml.padding_token_id"]?.integer(in: .tokenIDs)
        let outer = naming.outer.filter { hasAllPositions || padding != nil || $0.name != GGUFNamings.positions }
        let layers = naming.layers
        let hasPositions = outer.contains { $0.name == GGUFNamings.positions }
        droppedRows =
            hasPositions && !hasAllPositions
            ? padding.map { (CheckpointNames.weight(of: GGUFNamings.positions), $0 + 1) } : nil
        func entries(_ rows: [GGUFNameRow]) -> [Entry] {
            rows.flatMap { row in
                row.tensors.map { Entry(name: $0.name, gguf: $0.gguf, columns: $0.columns, row: row) }
            }
        }
        func table(_ rows: [GGUFNameRow], _ key: (Entry) -> String) -> NameTable<Entry> {
            NameTable(uniqueKeysWithValues: entries(rows).map { (key($0), $0) })
        }
        byGGUF = (table(outer, \.gguf), table(layers, \.gguf))
        byName = (table(outer, \.name), table(layers, \.name))
    }

    /// What a tensor of the file is in the Hugging Face checkpoint; nil where that is not known.
    package func counterpart(of record: TensorRecord) -> GGUFCounterpart? {
        guard let (entry, layer) = entry(record.name, ModulePart.ggufLayerPrefix, byGGUF) else { return nil }
        guard
            let rows = sizes.order(entry.row.rows, count: record.shape.first ?? 1, layer: layer),
            let columns = sizes.order(entry.columns, count: record.shape.last ?? 1, layer: layer)
        else { return nil }
        return GGUFCounterpart(
            name: layer.map { layerPrefix + "\($0)." + entry.name } ?? entry.name,
            form: GGUFForm(rows: rows, columns: columns, values: entry.row.values))
    }

    /// What a GGUF file calls the tensor that Hugging Face's checkpoints call `name`, whether the file at hand has it or
    /// not; nil where the architecture's files have no such tensor.
    package func ggufName(of name: String) -> String? {
        guard let (entry, layer) = entry(name, layerPrefix, byName) else { return nil }
        return layer.map { ModulePart.ggufLayerPrefix + "\($0)." + entry.gguf } ?? entry.gguf
    }

    /// The entry under a name, and the layer that the name tells.
    private func entry(
        _ name: String, _ prefix: String, _ table: (outer: NameTable<Entry>, layers: NameTable<Entry>)
    ) -> (Entry, layer: Int?)? {
        if let entry = table.outer[name] { return (entry, nil) }
        guard name.hasPrefix(prefix) else { return nil }
        let rest = name.dropFirst(prefix.count)
        guard let dot = rest.firstIndex(of: ".") else { return nil }
        let number = rest[..<dot]
        guard let layer = Int(number), layer >= 0, String(layer) == number, sizes.isOwn(layer: layer),
            let entry = table.layers[String(rest[rest.index(after: dot)...])]
        else { return nil }
        return (entry, layer)
    }
}
