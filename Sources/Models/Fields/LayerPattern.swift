import CheckpointIO
import Compute

/// Which layers of a model are of another kind than the rest: those that slide, or have no rotary embedding.
package enum LayerPattern: Sendable, Equatable {
    /// None.
    case none
    /// All.
    case all
    /// All but every so many-th: with 4 all but layers 3, 7, 11...
    case allButEvery(Int)
    /// For each layer whether it is.
    case each([Bool])

    /// Whether layer `layer` is of the kind.
    package func contains(_ layer: Int) -> Bool {
        switch self {
        case .none: false
        case .all: true
        case .allButEvery(let period): (layer + 1) % period != 0
        case .each(let flags): flags.indices.contains(layer) && flags[layer]
        }
    }
}

extension LayerPattern {
    /// Whether there may be such a layer.
    var isAnywhere: Bool {
        switch self {
        case .none: false
        case .all, .allButEvery: true
        case .each(let flags): flags.contains(true)
        }
    }

    /// The first layer that is not as layer 0 is, of a list.
    var firstUnlike0: Int? {
        guard case .each(let flags) = self else { return nil }
        return flags.firstIndex { $0 != flags[0] }
    }
}

extension ModelFields {
    /// The window of the layers that slide: what is said, or what transformers assumes where `config.json` has not even
    /// the key; nil for none.
    func window(assumed: Int?) throws(ModelError) -> Int? {
        if let json {
            return try json.hasKey("sliding_window") ? json.positiveInteger("sliding_window") : assumed
        }
        guard let gguf else { return nil }
        let key = gguf.prefix + "attention.sliding_window"
        // 0 stands for none.
        return gguf.metadata[key]?.integer(in: .sizesOrNone) == 0 ? nil : try gguf.positiveInteger(key)
    }

    /// The layers that slide, as `layer_types` lists them; `assumed` where it does not.
    func slidingLayers(_ layerCount: Int, assumed: LayerPattern) throws(ModelError) -> LayerPattern {
        guard let json, json.isPresent("layer_types") else { return assumed }
        let names = try json.names("layer_types", count: layerCount, of: RotaryLayers.allCases.map(\.rawValue))
        return .each(names.map { $0 == RotaryLayers.sliding.rawValue })
    }
}

extension JSONConfigurationFields {
    /// A list of `count` names, each of which is known.
    func names(_ key: String, count: Int, of known: [String]) throws(ModelError) -> [String] {
        let list = member(key)?.arrayValue ?? []
        guard list.count == count else {
            throw bad(key, "a list of \(count) names, one for each layer", "\(list.count) elements")
        }
        var names: [String] = []
        for element in list {
            guard let name = element.stringValue, known.contains(name) else {
                throw unsupported(key, element.text(), known.joined(separator: " and "))
            }
            names.append(name)
        }
        return names
    }
}

extension LayerPattern {
    /// `layer_types` of so many layers, of which these slide.
    func layerTypes(_ count: Int) -> JSONValue {
        .array(
            (0..<count).map {
                .string((contains($0) ? RotaryLayers.sliding : RotaryLayers.full).rawValue)
            })
    }
}

extension Visibility {
    /// What a token of a layer sees where the layer may slide.
    static func sliding(_ window: Int?) -> Visibility { window.map { .window($0) } ?? .causal }
}
