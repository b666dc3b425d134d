import CheckpointIO
import TensorCore

/// Why a tensor that belongs to a model's layers would not be read by its graph.
package enum UnreadCause: Sendable, Equatable {
    /// It lies in a layer that the configuration does not count: `key` says `layers`.
    case beyondLayers(key: String, layers: Int)
    /// Other architectures, by name, have such a tensor.
    case otherArchitecture(declared: String, owners: [String])
    /// No architecture that is known has such a tensor.
    case unknownPart(declared: String)

    /// `a, b and c`.
    private static func list(_ names: [String]) -> String {
        let last = names.last ?? ""
        return names.count < 2 ? last : names.dropLast().joined(separator: ", ") + " and " + last
    }

    /// The cause in words, to stand behind what was found.
    var words: String {
        switch self {
        case .beyondLayers(let key, let layers):
            "'\(key)' says \(layers): either it says fewer layers than the model has, or the files are another model's"
        case .otherArchitecture(let declared, let owners):
            Self.list(owners) + (owners.count == 1 ? " has" : " have") + " such tensors, so the model is probably no "
                + "'\(declared)', as it calls itself"
        case .unknownPart(let declared):
            "no architecture known to tspeft has such a tensor, so the model is probably no '\(declared)', as it calls "
                + "itself, or was changed"
        }
    }
}

/// What must be true of a checkpoint before its graph computes, and need not be to merge, convert or inspect it.
extension ModelCheckpoint {
    /// Checks that the graph reads all that the checkpoint has in its layers, and that it can: a layer's tensor that no
    /// graph of this architecture knows would be passed over in silence, and the results would be another model's.
    ///
    /// Passed over are tensors outside the layers, such as those of heads that serve training alone, and what
    /// transformers passes over too: buffers of rotary frequencies and causal masks. Throws `ModelError.unreadTensors`
    /// `.weightsOfNoNumbers`, and what `requireGraph` throws.
    package func checkGraphReadsAll() throws(ModelError) {
        let architecture = try requireGraph(for: Self.computing)
        for name in tensorNames {
            guard let record = record(of: name), !record.encoding.holdsReals else { continue }
            // What an architecture lists as blocks it decodes itself.
            if specifications[name]?.role == .experts, record.encoding == .plain(.u8), name.isMXFP4 { continue }
            throw .weightsOfNoNumbers(
                file: checkpoint.files[record.fileIndex], tensor: record.name, encoding: record.encoding.description)
        }
        try textPart?.check(checkpoint)
        let unread = unknownTensors.compactMap { name in
            causeUnread(name, architecture).map { (name: name, cause: $0) }
        }
        if let first = unread.first {
            throw .unreadTensors(
                file: checkpoint.path, tensor: first.name, count: unread.count, cause: first.cause)
        }
    }

    /// Checks besides what a computation needs to know of the tokens: those that end a text must be tokens. Throws
    /// `ModelError.badConfiguration`.
    package func checkRuns() throws(ModelError) {
        try checkGraphReadsAll()
        let configuration = try configuration
        let rows = configuration.vocabularySize
        guard let beyond = configuration.eosTokenIDs.first(where: { $0 >= rows }) else { return }
        let expected = "a token below \(rows), the vocabulary's size"
        switch checkpoint.layout {
        case .huggingFace(let directory):
            throw .badConfiguration(
                file: joinedPath(directory, "config.json"), key: "eos_token_id", expected: expected, found: "\(beyond)")
        case .gguf:
            let key = ModelFields.ggufEndTokenKeys.first { checkpoint.metadata?[$0]?.integer(in: .anything) == beyond }
            throw .badConfiguration(
                file: checkpoint.path, key: key ?? ModelConfiguration.ggufEndTokensKey, expected: expected,
                found: "\(beyond)")
        }
    }

    /// Ends of names that old or converted checkpoints hold in their layers though they follow from the configuration:
    /// frequencies and masks.
    private static let derivedEnds = [
        ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".masked_bias", ".attn.bias",
        ".attention.bias", ".attn_rot_embd.weight",
    ]

    /// Why a tensor that is none of the model's must not be passed over; nil where it may.
    private func causeUnread(_ name: String, _ architecture: any Architecture) -> UnreadCause? {
        let isGGUF = checkpoint.layout == .gguf
        let prefix = isGGUF ? ModulePart.ggufLayerPrefix : architecture.layerPrefix(in: name)
        guard name.hasPrefix(prefix), !Self.derivedEnds.contains(where: { name.hasSuffix($0) }) else { return nil }
        let rest = name.dropFirst(prefix.count)
        guard let dot = rest.firstIndex(of: "."), let layer = Int(rest[..<dot]), layer >= 0 else { return nil }
        let layerCount = architecture.configuration.layerCount
        if layer >= layerCount {
            let key = isGGUF ? architecture.names.gguf + "." + Field.layerCount.gguf : Field.layerCount.json
            return .beyondLayers(key: key, layers: layerCount)
        }
        let part = String(rest[rest.index(after: dot)...])
        let owners = ArchitectureTable.all.filter { $0.hasPart(part, inGGUF: isGGUF) }.map { $0.names.modelType }
        let declared = isGGUF ? architecture.names.gguf : architecture.names.modelType
        return owners.isEmpty
            ? .unknownPart(declared: declared) : .otherArchitecture(declared: declared, owners: owners)
    }
}

extension String {
    /// Whether a tensor's name is that of blocks or scales in MXFP4.
    fileprivate var isMXFP4: Bool { hasSuffix(MXFP4Rows.blocksSuffix) || hasSuffix(MXFP4Rows.scalesSuffix) }
}

extension Architecture {
    /// What stands before the layer's number in a name of a file, which may be a bare model's.
    fileprivate func layerPrefix(in name: String) -> String {
        let whole = Self.layerPrefix
        return name.hasPrefix(whole) || !whole.hasPrefix(Self.basePrefix)
            ? whole : String(whole.dropFirst(Self.basePrefix.count))
    }

    /// Whether layers of this architecture have a module whose weight is called `name` inside them.
    fileprivate static func hasPart(_ name: String, inGGUF isGGUF: Bool) -> Bool {
        modules.contains {
            $0.isInLayer && $0.weightName(inGGUF: isGGUF) == name
        }
    }
}
