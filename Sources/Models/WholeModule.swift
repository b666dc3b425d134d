import CheckpointIO

/// A module of a Llama that can be trained whole, as it is, beside an adapter: peft's `modules_to_save`.
package enum WholeModule: CaseIterable, Sendable {
    /// The output head.
    case outputHead
    /// The embedding of tokens.
    case embedding

    /// The module's path in the Hugging Face layout, such as `model.embed_tokens`.
    package var path: String { String(weightName.dropLast(".weight".count)) }

    /// The last part of the path, by which users and peft name it.
    package var name: String { String(path.split(separator: ".").last!) }

    /// The name of its one tensor, [vocabulary, hiddenSize].
    package var weightName: String {
        switch self {
        case .outputHead: CheckpointNames.outputHead
        case .embedding: CheckpointNames.embedding
        }
    }

    /// The module that `name` means, its path or the end of it. Throws `ModelError.notTrainableWhole`.
    package init(_ name: String) throws(ModelError) {
        guard let module = Self.allCases.first(where: { $0.path == name || $0.name == name }) else {
            throw .notTrainableWhole(module: name)
        }
        self = module
    }
}

extension ModelCheckpoint {
    /// The shape of a module's weight, [vocabulary, hiddenSize].
    package var wholeModuleShape: [Int] { [configuration.vocabularySize, configuration.hiddenSize] }

    /// The weight of a module as training begins with it, in F32.
    ///
    /// Throws `ModelError.tiedModule` where head and embedding are one tensor: peft would train a copy of it for the
    /// one and leave the other, which is seldom meant. An adapter of peft's that was made so can still be used.
    package func initialWeight(of module: WholeModule) throws -> [Float] {
        if configuration.tiedEmbeddings {
            throw ModelError.tiedModule(file: checkpoint.path, module: module.name)
        }
        return try floats(module.weightName)
    }
}
