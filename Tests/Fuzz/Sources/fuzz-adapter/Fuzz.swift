import Adapters
import CheckpointIO
import FuzzSupport

/// The bytes as the adapter_config.json of an adapter of peft'\''s.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            _ = placeFixture("peft/lora/adapter_model.safetensors", as: "adapter_model.safetensors")
            let folder = placeInput(start, count, as: "adapter_config.json")
            reading { _ = try AdapterDirectory.read(folder) }
            return 0
        }
    }
}
