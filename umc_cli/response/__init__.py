"""What a device does to sound: its frequency response, its level, its noise floor."""
