import Adapters
import Models

/// Adapters that belong to a base, and where everything that they hold goes in it.
struct PlacedAdapters {
    /// The base.
    let base: ModelCheckpoint
    /// The adapters, the modules of each in the base's order.
    let adapters: [WeightedAdapter]
    /// The base's names.
    let names: BaseNames
    /// Where everything of each adapter goes.
    let placements: [AdapterPlacement]

    /// Throws `AdapterError.wrongBase` for adapters of another base, and what placing them throws.
    init(_ adapters: [WeightedAdapter], in base: ModelCheckpoint) throws {
        let fingerprint = try base.fingerprint()
        let names = base.names
        self.adapters = try adapters.map { weighted in
            try weighted.adapter.check(base: fingerprint, basePath: base.checkpoint.path)
            return WeightedAdapter(
                try base.tellingOfPackedWeights { try weighted.adapter.named(as: base) }, weight: weighted.weight)
        }
        self.base = base
        self.names = names
        placements = try self.adapters.map { (weighted: WeightedAdapter) throws -> AdapterPlacement in
            let adapter = weighted.adapter
            return try base.tellingOfPackedWeights { try AdapterPlacement.find(adapter, base: base, names: names) }
        }
    }

    /// Compares what modules were before they were trained whole with the base's; throws as for one adapter.
    func checkOriginals() throws {
        for (weighted, placement) in zip(adapters, placements) {
            try weighted.adapter.checkOriginals(placement, base: base, names: names)
        }
    }
}
