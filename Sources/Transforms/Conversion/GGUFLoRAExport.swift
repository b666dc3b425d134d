import Adapters
import CheckpointIO
import Models
import TensorCore

extension AdapterExport {
    /// Writes llama.cpp's adapter file: for each module the tensors `<GGUF weight>.lora_a` [rank, inputSize] and
    /// `.lora_b` [outputSize, rank] in F32; gives notes for the report.
    ///
    /// llama.cpp multiplies B A by alpha / rank(B) with one alpha for the file, so B holds what is left of each
    /// module's scale; where that is nothing, as for a plain LoRA, B is as it was. The rows of B and the columns of A are
    /// in GGUF's order.
    func writeGGUF(to output: OutputTarget) throws -> [String] {
        guard let base else { preconditionFailure("the base was checked") }
        let folded = foldedModules
        let alpha = commonAlpha(folded) ?? Float(folded.map(\.rank).max() ?? 1)
        var entries: [GGUFEntry] = []
        for module in folded {
            let weight = CheckpointNames.weight(of: module.module)
            guard let name = base.specifications[weight]?.ggufName else {
                throw TransformError.unsupported(
                    path: adapter.displayName, reason: "'\(weight)' has no name in GGUF files")
            }
            entries.append(
                GGUFEntry(name: name + ".lora_a", encoding: .plain(.f32), shape: [module.rank, module.inputSize]))
            entries.append(
                GGUFEntry(name: name + ".lora_b", encoding: .plain(.f32), shape: [module.outputSize, module.rank]))
        }
        let ownArchitecture = base.checkpoint.metadata?["general.architecture"]?.stringValue
        let architecture = try ownArchitecture ?? base.requireGraph(for: "a GGUF adapter").names.gguf
        let metadata: [(key: String, value: GGUFEncodedValue)] = [
            ("general.architecture", .string(architecture)),
            ("general.type", .string("adapter")),
            ("general.name", .string(lastPathComponent(adapter.displayName))),
            ("adapter.type", .string("lora")),
            ("adapter.lora.alpha", .float32(alpha)),
        ]
        let writer = try GGUFWriter(
            AtomicFileWriter(output), metadata: metadata, entries: entries)
        var isFoldedScale = false
        for (entry, module) in zip(written, folded) {
            var low = change(of: entry).change
            let implied = alpha / Float(module.rank)
            if implied != low.scale {
                isFoldedScale = true
                let factor = low.scale / implied
                for index in low.b.indices { low.b[index] *= factor }
            }
            try writer.append(inGGUFOrder(low.a, columnsOf: module, base))
            try writer.append(inGGUFOrder(low.b, module, base))
        }
        try writer.finish(rechecking: inputs)
        return [foldingNote, isFoldedScale ? "scales folded into B, as a GGUF adapter has one alpha for all" : nil]
            .compactMap { $0 }
    }

    /// The alpha that alone gives every module's scale, exactly; nil where there is none. llama.cpp takes an alpha of 0
    /// for none given and would apply the whole update.
    private func commonAlpha(_ folded: [FoldedModule]) -> Float? {
        guard let own = adapter.configuration.settings.alpha else { return nil }
        let alpha = Float(own)
        return alpha != 0 && folded.allSatisfy { alpha / Float($0.rank) == $0.scale } ? alpha : nil
    }

    /// A with its columns where GGUF has those of the module's weight.
    private func inGGUFOrder(_ a: [Float], columnsOf module: FoldedModule, _ base: ModelCheckpoint) -> [Float] {
        let order = base.specifications[module: module.module]?.ggufColumns ?? .asInHuggingFace
        guard order.isPermuted else { return a }
        var result = a
        for row in 0..<module.rank {
            let start = row * module.inputSize
            for column in 0..<module.inputSize { result[start + order.gguf(column)] = a[start + column] }
        }
        return result
    }

    /// B with its rows where GGUF has those of the module's weight.
    private func inGGUFOrder(_ b: [Float], _ module: FoldedModule, _ base: ModelCheckpoint) -> [Float] {
        let order = base.specifications[module: module.module]?.ggufRows ?? .asInHuggingFace
        guard order.isPermuted else { return b }
        var result = b
        for row in 0..<module.outputSize {
            let stored = order.gguf(row)
            for column in 0..<module.rank { result[stored * module.rank + column] = b[row * module.rank + column] }
        }
        return result
    }
}
