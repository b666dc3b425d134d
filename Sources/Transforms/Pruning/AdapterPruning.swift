import Adapters
import CheckpointIO
import TensorCore

extension AdapterDirectory {
    /// The adapter with only the modules of `selection`: tensors, thresholds and statistics of the others are left out,
    /// `target_modules` lists the kept paths, and the history tells what was done.
    ///
    /// Throws `AdapterError.unknownModule` for a selected module that the adapter does not have.
    package func pruned(to selection: ModuleSelection) throws(AdapterError) -> AdapterDirectory {
        let chosen = NameSet(selection.modules)
        let known = NameSet(modules)
        if let stranger = selection.modules.first(where: { !known.contains($0) }) {
            throw .unknownModule(
                stranger, source: displayName, nearest: NearestNames.find(stranger, in: modules))
        }
        let kept = modules.filter(chosen.contains)
        var pruned = try restricted(to: kept, configuration: configuration.restricted(to: kept))
        var event = JSONObject()
        event["event"] = .string("pruned")
        event["tspeft"] = .string(ToolVersion.current)
        event["parent"] = .string(displayName)
        event["parent_modules"] = .integer(modules.count)
        event["selection"] = selection.json
        pruned.origin.history.append(.object(event))
        return pruned
    }
}
