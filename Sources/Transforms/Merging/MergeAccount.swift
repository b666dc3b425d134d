import Adapters
import Models
import TensorCore

/// Which of the adapters' tensors a merge uses, and which of the base's it changes.
package struct MergeAccount: Sendable, Equatable {
    /// Tensors of the adapters' files; each is used, or the merge is refused.
    package let adapterTensorCount: Int
    /// Tensors of the output that are not the base's, those that it lacks among them.
    package let changedTensorCount: Int
    /// Tensors of the base.
    package let baseTensorCount: Int
}

extension MergeAccount {
    /// What merging an adapter into a base would use and change, whatever its gates did. Throws as `CheckpointMerge` does
    /// where a tensor has no place or does not belong to the base.
    package init(of adapter: AdapterDirectory, in base: ModelCheckpoint) throws {
        let placed = try PlacedAdapters([WeightedAdapter(adapter.replacingExpertGates(by: nil))], in: base)
        var changed = placed.placements[0].targets.count
        do {
            let merge = try CheckpointMerge(placed, record: MergeRecord(), digests: [], gates: .scale)
            changed = merge.account.changedTensorCount
        } catch TransformError.nothingToMerge {
            // It says where the tensors go, not whether they were trained.
            try placed.checkOriginals()
        } catch AdapterError.missingStatistics {
            try placed.checkOriginals()
        }
        self.init(
            adapterTensorCount: adapter.fileTensorCount, changedTensorCount: changed,
            baseTensorCount: base.checkpoint.tensors.count)
    }
}

extension CheckpointMerge {
    /// What the merge uses and changes.
    package var account: MergeAccount {
        MergeAccount(
            adapterTensorCount: adapters.reduce(0) { $0 + $1.adapter.fileTensorCount },
            changedTensorCount: plan.tensors.count { $0.role != .copied },
            baseTensorCount: base.checkpoint.tensors.count)
    }
}

extension AdapterPlacement {
    /// Places an adapter; throws `TransformError.unplaced` for what has no place in the base, or more than one, and what
    /// `init` throws.
    static func find(
        _ adapter: AdapterDirectory, base: ModelCheckpoint, names: BaseNames
    ) throws -> AdapterPlacement {
        do {
            return try AdapterPlacement(adapter, base: base, names: names)
        } catch let error as NamingError {
            throw TransformError.unplaced(adapter: adapter.displayName, error)
        }
    }

    /// The tensors of an output that are not the base's.
    fileprivate var targets: NameSet {
        var targets = NameSet(values.map(\.target) + rows.map(\.tensor) + integers.map(\.target))
        for update in updates {
            if let head = update.untiedHead {
                targets.insert(head)
            } else {
                targets.formUnion(update.places.joined().map(\.tensor))
            }
            if let bias = update.bias, update.changesBias { targets.insert(bias) }
        }
        return targets
    }
}
