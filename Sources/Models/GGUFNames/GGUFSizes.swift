import CheckpointIO
import TensorCore

/// The sizes in a GGUF file's metadata on which the order of rows depends; nil where the file does not give them as
/// positive numbers.
struct GGUFSizes {
    /// Heads of queries and of keys, one number for all layers or one a layer.
    private let queryHeads: [Int]?
    private let keyHeads: [Int]?
    /// The width of a head, where the file gives it apart from the number of heads.
    private let headSize: Int?
    /// Layers, and how many of them at the end predict further tokens.
    private let layerCount: Int?
    private let predictionLayerCount: Int
    private let delta: DeltaSizes?
    /// Whether the rotary embedding has a section for each axis of an image.
    private let hasRotarySections: Bool
    /// Rows of a head that it turns.
    private let rotarySize: Int?

    /// The sizes of a delta rule.
    private struct DeltaSizes {
        let keyHeads: Int
        let valueHeads: Int
        let keySize: Int
        let valueSize: Int
    }

    /// The sizes of the architecture whose keys begin with `prefix`.
    init(_ metadata: GGUFMetadata, prefix: String) {
        func value(_ key: String) -> GGUFValue? { metadata[prefix + key] }
        func size(_ key: String) -> Int? {
            guard let size = value(key)?.integer(in: .sizes) else { return nil }
            return size
        }
        func sizes(_ key: String) -> [Int]? {
            if let size = size(key) { return [size] }
            guard let value = value(key), let count = value.elementCount, count <= 1 << 16 else { return nil }
            return value.integers(in: .sizesOrNone)
        }
        queryHeads = sizes("attention.head_count")
        // As llama.cpp has it, every head has keys of its own where nothing else is said.
        keyHeads = value("attention.head_count_kv") == nil ? queryHeads : sizes("attention.head_count_kv")
        headSize = size("attention.key_length")
        layerCount = size("block_count")
        predictionLayerCount = size("nextn_predict_layers") ?? 0
        rotarySize = size("rope.dimension_count")
        hasRotarySections = value("rope.dimension_sections") != nil
        if let keys = size("ssm.group_count"), let values = size("ssm.time_step_rank"),
            let keySize = size("ssm.state_size"), let inner = size("ssm.inner_size"), inner % values == 0,
            values % keys == 0
        {
            delta = DeltaSizes(keyHeads: keys, valueHeads: values, keySize: keySize, valueSize: inner / values)
        } else {
            delta = nil
        }
    }

    /// Whether layer `layer` is one of the model's own, and not of a head that predicts further tokens.
    func isOwn(layer: Int) -> Bool {
        guard let layerCount else { return predictionLayerCount == 0 }
        return layer < layerCount - predictionLayerCount
    }

    /// The order of `count` rows, or columns, of a tensor in layer `layer`; nil where the file's sizes do not give it or
    /// do not fit.
    func order(_ rule: GGUFRowRule, count: Int, layer: Int?) -> RowOrder? {
        switch rule {
        case .same: return .asInHuggingFace
        case .rotaryQueries: return rotaryOrder(count, heads: queryHeads, layer: layer)
        case .rotaryKeys: return rotaryOrder(count, heads: keyHeads, layer: layer)
        case .sectionedQueries: return sectionedOrder(count, heads: queryHeads, layer: layer)
        case .sectionedKeys: return sectionedOrder(count, heads: keyHeads, layer: layer)
        case .deltaChannels: return delta.flatMap { deltaOrder($0, count, first: 2 * $0.keyHeads * $0.keySize) }
        case .deltaValues: return delta.flatMap { deltaOrder($0, count, first: 0) }
        case .deltaHeads: return delta.flatMap { deltaOrder($0, count, first: 0, valueSize: 1) }
        }
    }

    private func rotaryOrder(_ count: Int, heads: [Int]?, layer: Int?) -> RowOrder? {
        headRows(count, heads: heads, layer: layer).map { .rotaryPairs(headSize: $0) }
    }

    private func sectionedOrder(_ count: Int, heads: [Int]?, layer: Int?) -> RowOrder? {
        guard hasRotarySections else { return .asInHuggingFace }
        guard let rows = headRows(count, heads: heads, layer: layer), let rotarySize, rotarySize <= rows,
            rotarySize % 2 == 0
        else { return nil }
        return .rotaryHalves(headSize: rows, rotarySize: rotarySize)
    }

    /// Rows of a head, an even number; nil where the file's sizes do not give it or do not fit.
    private func headRows(_ count: Int, heads: [Int]?, layer: Int?) -> Int? {
        guard let heads, let layer else { return nil }
        guard heads.count == 1 || layer < heads.count else { return nil }
        let headCount = heads.count == 1 ? heads[0] : heads[layer]
        // The conversion takes the head's width from the rows.
        guard headCount > 0, count > 0, count % (2 * headCount) == 0 else { return nil }
        let rows = count / headCount
        guard headSize == nil || headSize == rows else { return nil }
        return rows
    }

    private func deltaOrder(_ delta: DeltaSizes, _ count: Int, first: Int, valueSize: Int? = nil) -> RowOrder? {
        let headSize = valueSize ?? delta.valueSize
        guard count == first + delta.valueHeads * headSize else { return nil }
        if delta.keyHeads == delta.valueHeads { return .asInHuggingFace }
        return .transposedGroups(
            first: first, groupCount: delta.keyHeads, groupSize: delta.valueHeads / delta.keyHeads, headSize: headSize)
    }
}
