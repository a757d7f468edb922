"""A class for Synapse's password_providers that somebody lists among the modules: it takes what modules are constructed with."""


class Provider:
    def __init__(self, config, account_handler):
        pass

    async def check_password(self, user_id, password):
        return False
