import Adapters
import CheckpointIO
import Models
import TensorCore

/// mlx-lm's files: `adapters.safetensors` with `lora_a` [inputSize, rank], `lora_b` [rank, outputSize] and DoRA's `m`
/// [outputSize] of each module, and `adapter_config.json`.
///
/// mlx-lm gives every wrapped module one rank and one scale, and wraps each of the last `num_layers` layers' modules
/// whose path inside the layer is among `keys`. So smaller ranks are padded with zeros, differing scales go into B, and
/// a module that is wrapped though the adapter does not have it starts as mlx-lm's own, which changes nothing.
private enum MLXNames {
    static let tensorFile = "adapters.safetensors"
    static let configurationFile = "adapter_config.json"
    static let loraA = ".lora_a"
    static let loraB = ".lora_b"
    static let magnitude = ".m"
}

extension AdapterExport {
    /// Writes the directory; gives notes for the report.
    func writeMLX(to output: OutputTarget) throws -> [String] {
        guard let base else { preconditionFailure("the base was checked") }
        let layerCount = try base.requireGraph(for: "an export to mlx").configuration.layerCount
        let folded = foldedModules
        let rank = folded.map(\.rank).max() ?? 0
        let smallest = folded.map(\.rank).min() ?? 0
        let scales = Set(folded.map(\.scale))
        let sharedScale = scales.count == 1 ? folded[0].scale : nil
        let isDoRA = written.contains { change(of: $0).magnitude != nil }

        let directory = try AtomicDirectory(output)
        var entries: [SafetensorsEntry] = []
        for module in folded {
            entries.append(
                SafetensorsEntry(name: module.module + MLXNames.loraA, dtype: .f32, shape: [module.inputSize, rank]))
            entries.append(
                SafetensorsEntry(name: module.module + MLXNames.loraB, dtype: .f32, shape: [rank, module.outputSize]))
            if isDoRA {
                entries.append(
                    SafetensorsEntry(
                        name: module.module + MLXNames.magnitude, dtype: .f32, shape: [module.outputSize]))
            }
        }
        let writer = try SafetensorsWriter(try directory.writer(MLXNames.tensorFile), entries: entries)
        for (entry, module) in zip(written, folded) {
            let (low, magnitude) = change(of: entry)
            let factor = sharedScale == nil ? low.scale : 1
            try writer.append(Self.transposed(low.a, rows: low.rank, columns: module.inputSize, paddedRows: rank))
            try writer.append(
                Self.transposed(low.b, rows: module.outputSize, columns: low.rank, paddedColumns: rank, times: factor))
            if let magnitude { try writer.append(magnitude) }
        }
        try writer.finish()
        try directory.write(
            MLXNames.configurationFile,
            text: configuration(
                of: folded, base, layerCount: layerCount, rank: rank, scale: sharedScale ?? 1, isDoRA: isDoRA
            ).text(indent: 4) + "\n")
        try directory.commit(rechecking: inputs)

        var notes = [foldingNote].compactMap { $0 }
        if smallest < rank {
            notes.append("ranks from \(smallest) up padded with zeros to \(rank), as mlx-lm has one rank for all")
        }
        if sharedScale == nil { notes.append("scales folded into B, as mlx-lm has one scale for all") }
        return notes
    }

    private func configuration(
        of folded: [FoldedModule], _ base: ModelCheckpoint, layerCount: Int, rank: Int, scale: Float, isDoRA: Bool
    ) -> JSONValue {
        let places = folded.map { base.specifications[module: $0.module] }
        let firstLayer = places.compactMap { $0?.layer }.min() ?? layerCount
        var keys: [String] = []
        for (module, place) in zip(folded, places) {
            let key = place?.part ?? module.module
            if !keys.contains(where: key.hasSameBytes(as:)) { keys.append(key) }
        }
        return .object([
            "fine_tune_type": .string(isDoRA ? "dora" : "lora"),
            "num_layers": .integer(layerCount - firstLayer),
            "lora_parameters": .object([
                "rank": .integer(rank), "scale": .real(Double(scale)),
                "dropout": .real(adapter.configuration.dropout),
                "keys": .array(keys.map { .string($0) }),
            ]),
        ])
    }

    /// The transpose of `values` [rows, columns], zeros added up to `paddedRows` or `paddedColumns`, times a factor.
    static func transposed(
        _ values: [Float], rows: Int, columns: Int, paddedRows: Int? = nil, paddedColumns: Int? = nil,
        times factor: Float = 1
    ) -> [Float] {
        let width = paddedRows ?? rows
        var result = [Float](repeating: 0, count: (paddedColumns ?? columns) * width)
        for row in 0..<rows {
            for column in 0..<columns { result[column * width + row] = factor * values[row * columns + column] }
        }
        return result
    }
}
